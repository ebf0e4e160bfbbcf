# Dashboard, alarms, sampling of traces. The catalog's own metrics come from the functions' logs
# (chalicelib/telemetry.py, embedded metric format).

locals {
  own = { service = "product-catalog" }
  functions = {
    api        = module.api
    authorizer = module.authorizer
    bridge     = module.bridge
    sync       = module.sync
    reconcile  = module.reconcile
  }
  names = { for key, made in local.functions : key => made.function_name }

  alarms = merge(
    {
      dead-letters = {
        description = "Messages are in the dead-letter queue: GET /api/sync, then POST /api/sync/redrive"
        namespace   = "AWS/SQS", metric = "ApproximateNumberOfMessagesVisible", statistic = "Maximum"
        dimensions  = { QueueName = aws_sqs_queue.dead_letters.name }
        operator    = "GreaterThanThreshold", threshold = 0, periods = 1, missing = "notBreaching"
      }
      undelivered = {
        description = "The oldest change has been waiting too long for the supply chain"
        namespace   = local.metrics_namespace, metric = "oldest_undelivered_seconds", statistic = "Maximum"
        dimensions  = local.own
        operator    = "GreaterThanThreshold", threshold = var.undelivered_alarm_seconds, periods = 3, missing = "breaching"
      }
      outbox = {
        description = "Events wait in the products' outboxes: NATS is away"
        namespace   = local.metrics_namespace, metric = "outbox_backlog", statistic = "Minimum"
        dimensions  = local.own
        operator    = "GreaterThanThreshold", threshold = 0, periods = 10, missing = "breaching"
      }
      breaker-open = {
        description = "The supply chain is down: no calls but probes. GET /api/sync says since when and why"
        namespace   = local.metrics_namespace, metric = "breaker_open", statistic = "Minimum"
        dimensions  = local.own
        operator    = "GreaterThanThreshold", threshold = 0, periods = var.breaker_alarm_minutes, missing = "notBreaching"
      }
      sync-paused = {
        description = "An operator has paused the sync, and perhaps forgotten it: PUT /api/sync/control"
        namespace   = local.metrics_namespace, metric = "sync_paused", statistic = "Minimum"
        dimensions  = local.own
        operator    = "GreaterThanThreshold", threshold = 0, periods = var.paused_alarm_minutes, missing = "notBreaching"
      }
      bridge-stopped = {
        description = "The bridge does not run"
        namespace   = "AWS/Lambda", metric = "Invocations", statistic = "Sum"
        dimensions  = { FunctionName = local.names.bridge }
        operator    = "LessThanThreshold", threshold = 1, periods = 5, missing = "breaching"
      }
      api-5xx = {
        description = "The API answers 5xx"
        namespace   = "AWS/ApiGateway", metric = "5XXError", statistic = "Sum"
        dimensions  = { ApiName = aws_api_gateway_rest_api.catalog.name, Stage = "api" }
        operator    = "GreaterThanThreshold", threshold = 5, periods = 2, missing = "notBreaching"
      }
    },
    { for key, name in local.names : "${key}-errors" => {
      description = "${name} fails"
      namespace   = "AWS/Lambda", metric = "Errors", statistic = "Sum"
      dimensions  = { FunctionName = name }
      operator    = "GreaterThanThreshold", threshold = 0, periods = 3, missing = "notBreaching"
    } },
    { for key, name in local.names : "${key}-throttles" => {
      description = "${name} is throttled: too little concurrency"
      namespace   = "AWS/Lambda", metric = "Throttles", statistic = "Sum"
      dimensions  = { FunctionName = name }
      operator    = "GreaterThanThreshold", threshold = 0, periods = 3, missing = "notBreaching"
    } },
  )

  widgets = [
    { title = "API latency (ms)", metrics = [
      ["AWS/ApiGateway", "Latency", "ApiName", local.name, { stat = "p50" }],
      ["AWS/ApiGateway", "Latency", "ApiName", local.name, { stat = "p99" }],
    ] },
    { title = "API requests and errors", metrics = [
      for metric in ["Count", "4XXError", "5XXError"] : ["AWS/ApiGateway", metric, "ApiName", local.name, { stat = "Sum" }]
    ] },
    { title = "Delivery lag (s)", metrics = [
      for stat in ["p50", "p99", "Maximum"] : [local.metrics_namespace, "delivery_lag", "service", local.own.service, { stat = stat }]
    ] },
    { title = "Oldest undelivered change (s), outbox backlog", metrics = [
      for metric in ["oldest_undelivered_seconds", "outbox_backlog"] : [local.metrics_namespace, metric, "service", local.own.service, { stat = "Maximum" }]
    ] },
    { title = "Products by status", metrics = [
      for status in ["pending", "retrying", "exhausted", "rejected", "delivered"] : [local.metrics_namespace, "products_${status}", "service", local.own.service, { stat = "Maximum" }]
    ] },
    { title = "Attempts", metrics = concat(
      [for metric in ["failed", "exhausted", "rejected"] : [local.metrics_namespace, metric, "service", local.own.service, { stat = "Sum" }]],
      # One value per delivery; and each event that the bridge forwards is a message of a queue.
      [[local.metrics_namespace, "delivery_lag", "service", local.own.service, { stat = "SampleCount", label = "delivered" }]],
      [for key, name in local.sync_queue_names : ["AWS/SQS", "NumberOfMessagesSent", "QueueName", name, { stat = "Sum", label = "enqueued, ${key}" }]],
    ) },
    { title = "Breaker open, sync paused", metrics = [
      for metric in ["breaker_open", "sync_paused"] : [local.metrics_namespace, metric, "service", local.own.service, { stat = "Maximum" }]
    ] },
    { title = "Outages: opened, parked, brought forward", metrics = [
      for metric in ["breaker_opened", "parked", "brought_forward"] : [local.metrics_namespace, metric, "service", local.own.service, { stat = "Sum" }]
    ] },
    { title = "Queue depth", metrics = [
      for pair in setproduct(["ApproximateNumberOfMessagesVisible", "ApproximateNumberOfMessagesNotVisible"], values(local.sync_queue_names)) : ["AWS/SQS", pair[0], "QueueName", pair[1], { stat = "Maximum" }]
    ] },
    { title = "Age of the oldest message (s)", metrics = [
      for name in values(local.sync_queue_names) : ["AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName", name, { stat = "Maximum" }]
    ] },
    { title = "Dead letters", metrics = [
      ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", aws_sqs_queue.dead_letters.name, { stat = "Maximum" }],
    ] },
    { title = "Function errors and throttles", metrics = concat(
      [for name in values(local.names) : ["AWS/Lambda", "Errors", "FunctionName", name, { stat = "Sum" }]],
      [for name in values(local.names) : ["AWS/Lambda", "Throttles", "FunctionName", name, { stat = "Sum" }]],
    ) },
    { title = "Functions at a time", metrics = [
      for name in values(local.names) : ["AWS/Lambda", "ConcurrentExecutions", "FunctionName", name, { stat = "Maximum" }]
    ] },
    { title = "Function duration (ms, p99)", metrics = [
      for name in values(local.names) : ["AWS/Lambda", "Duration", "FunctionName", name, { stat = "p99" }]
    ] },
  ]
}

resource "aws_cloudwatch_metric_alarm" "catalog" {
  for_each = local.alarms

  alarm_name          = "${local.name}-${each.key}"
  alarm_description   = each.value.description
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = each.value.statistic
  comparison_operator = each.value.operator
  threshold           = each.value.threshold
  period              = 60
  evaluation_periods  = each.value.periods
  treat_missing_data  = each.value.missing
  alarm_actions       = var.alarm_topic_arn[*]
  ok_actions          = var.alarm_topic_arn[*]
}

resource "aws_cloudwatch_dashboard" "catalog" {
  dashboard_name = local.name
  dashboard_body = jsonencode({
    widgets = [for index, widget in local.widgets : {
      type   = "metric"
      x      = index % 3 * 8
      y      = floor(index / 3) * 6
      width  = 8
      height = 6
      properties = {
        title   = widget.title
        region  = var.region
        period  = 60
        metrics = widget.metrics
      }
    }]
  })
}

# Which requests X-Ray records. API Gateway decides, and what the request starts follows it. Not on an
# emulator: none has sampling rules.
resource "aws_xray_sampling_rule" "api" {
  count = var.endpoint == null ? 1 : 0

  rule_name      = "catalog${var.name_suffix}"
  priority       = 1000
  version        = 1
  reservoir_size = var.xray.per_second
  fixed_rate     = var.xray.share
  service_type   = "AWS::ApiGateway::Stage"
  service_name   = "${aws_api_gateway_rest_api.catalog.name}/${aws_api_gateway_stage.api.stage_name}"
  resource_arn   = "*"
  host           = "*"
  http_method    = "*"
  url_path       = "*"
}

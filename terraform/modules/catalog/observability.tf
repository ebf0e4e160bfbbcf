# Dashboard and sampling of traces; alarms.tf has the alarms. The catalog's own metrics come from the
# functions' logs (chalicelib/telemetry.py, embedded metric format).

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
      [for key, name in module.queues.names : ["AWS/SQS", "NumberOfMessagesSent", "QueueName", name, { stat = "Sum", label = "enqueued, ${key}" }]],
    ) },
    { title = "Breaker open, sync paused", metrics = [
      for metric in ["breaker_open", "sync_paused"] : [local.metrics_namespace, metric, "service", local.own.service, { stat = "Maximum" }]
    ] },
    { title = "Outages: opened, parked, brought forward", metrics = [
      for metric in ["breaker_opened", "parked", "brought_forward"] : [local.metrics_namespace, metric, "service", local.own.service, { stat = "Sum" }]
    ] },
    { title = "Queue depth", metrics = [
      for pair in setproduct(["ApproximateNumberOfMessagesVisible", "ApproximateNumberOfMessagesNotVisible"], values(module.queues.names)) : ["AWS/SQS", pair[0], "QueueName", pair[1], { stat = "Maximum" }]
    ] },
    { title = "Age of the oldest message (s)", metrics = [
      for name in values(module.queues.names) : ["AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName", name, { stat = "Maximum" }]
    ] },
    { title = "Delivered within a minute, and not", metrics = [
      for metric in ["objective_met", "objective_missed"] : [local.metrics_namespace, metric, "service", local.own.service, { stat = "Sum" }]
    ] },
    { title = "Exhausted and rejected: the oldest (s), dead letters", metrics = [
      for metric in ["oldest_stuck_seconds", "dead_letters"] : [local.metrics_namespace, metric, "service", local.own.service, { stat = "Maximum" }]
    ] },
    { title = "Away, as reconcile sees it", metrics = [
      for metric in ["store_away", "stream_away", "queue_away"] : [local.metrics_namespace, metric, "service", local.own.service, { stat = "Maximum" }]
    ] },
    { title = "Bytes of the stream, and their limit", metrics = [
      for metric in ["stream_bytes", "stream_limit_bytes"] : [local.metrics_namespace, metric, "service", local.own.service, { stat = "Maximum" }]
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
        region  = local.region
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

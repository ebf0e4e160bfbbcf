# CloudWatch alarms, made of alarms.yaml, which says what each field means.
#
# An alarm with one window and without `unless` is one metric alarm. Any other is a composite alarm; its
# metric alarms are named after it: …-signal. A cause suppresses its actions, not its state. CloudWatch takes
# one suppressor: the cause's metric alarm, or a composite alarm of several causes: …-causes.

locals {
  defined_alarms = yamldecode(file("${path.module}/alarms.yaml"))

  watched = { for name, alarm in local.defined_alarms : name => {
    for id, metric in alarm.metrics : id => {
      namespace = can(metric.aws) ? "AWS/${metric.aws}" : local.metrics_namespace
      name      = metric.metric
      statistic = metric.statistic
      dimensions = (
        can(metric.function) ? { FunctionName = local.names[metric.function] } :
        can(metric.queue) ? { QueueName = module.queues.names[metric.queue] } :
        can(metric.aws) ? { ApiName = aws_api_gateway_rest_api.catalog.name, Stage = "api" } : local.own
      )
    }
  } }

  alarms = { for name, alarm in local.defined_alarms : name => {
    severity    = alarm.severity
    description = "${alarm.summary} What to do: docs/operations.md#${name}"
    metrics     = local.watched[name]
    # Without metric math.
    single     = can(alarm.expression) ? null : one(values(local.watched[name]))
    expression = try(alarm.expression, null)
    operator   = can(alarm.above) ? "GreaterThanThreshold" : "LessThanThreshold"
    threshold  = coalesce(try(var.alarms[name].threshold, null), try(alarm.above, alarm.below))
    periods    = coalesce(try(var.alarms[name].periods, null), alarm.periods)
    of         = max(coalesce(try(var.alarms[name].periods, null), alarm.periods), try(alarm.of, 0))
    windows    = try(alarm.windows, [try(alarm.seconds, 60)])
    missing    = try(alarm.missing, "notBreaching")
    unless     = try(alarm.unless, [])
  } }

  # Metric alarms by name: those without more, and the parts of composite alarms.
  metric_alarms = merge(
    { for name, alarm in local.alarms : name => merge(alarm, { seconds = alarm.windows[0] })
    if !contains(keys(local.composite_alarms), name) },
    merge([for name, alarm in local.composite_alarms : {
      for part, seconds in alarm.parts : part => merge(alarm, { severity = "none", seconds = seconds })
    }]...),
  )
  composite_alarms = { for name, alarm in local.alarms : name => merge(alarm, {
    parts = { for seconds in alarm.windows : "${name}-signal${length(alarm.windows) > 1 ? "-${seconds}" : ""}" => seconds }
    # The causes' metric alarms; a cause has one window.
    causes = [for cause in alarm.unless : "${local.name}-${cause}${length(local.alarms[cause].unless) > 0 ? "-signal" : ""}"]
  }) if length(alarm.windows) > 1 || length(alarm.unless) > 0 }

  topics = { for severity, given in { page = var.page_topic_arn, ticket = var.ticket_topic_arn } :
    severity => concat(given[*], [for key, topic in aws_sns_topic.alarms : topic.arn if key == severity])
  }
  # A page ends by itself; a ticket is closed by who has worked on it.
  raised = { page = local.topics.page, ticket = local.topics.ticket, none = [] }
  ended  = { page = local.topics.page, ticket = [], none = [] }
}

# ---- whom they tell, where no topic is given ----

resource "aws_sns_topic" "alarms" {
  #checkov:skip=CKV_AWS_26:Encrypted with kms_key_arn where that is given; SNS's own key cannot be used by CloudWatch, and the messages hold names of alarms
  for_each = { for severity, addresses in var.alarm_emails : severity => addresses if length(addresses) > 0 }

  name              = "${local.name}-${each.key}"
  kms_master_key_id = var.kms_key_arn
}

resource "aws_sns_topic_subscription" "email" {
  for_each = merge([for severity, addresses in var.alarm_emails : {
    for address in addresses : "${severity} ${address}" => { severity = severity, address = address }
  }]...)

  topic_arn = aws_sns_topic.alarms[each.value.severity].arn
  protocol  = "email"
  endpoint  = each.value.address
}

resource "aws_cloudwatch_metric_alarm" "catalog" {
  for_each = local.metric_alarms

  alarm_name          = "${local.name}-${each.key}"
  alarm_description   = each.value.description
  comparison_operator = each.value.operator
  threshold           = each.value.threshold
  evaluation_periods  = each.value.of
  datapoints_to_alarm = each.value.periods
  treat_missing_data  = each.value.missing
  alarm_actions       = local.raised[each.value.severity]
  ok_actions          = local.ended[each.value.severity]

  # One metric by itself,
  namespace          = try(each.value.single.namespace, null)
  metric_name        = try(each.value.single.name, null)
  dimensions         = try(each.value.single.dimensions, null)
  period             = each.value.single == null ? null : each.value.seconds
  statistic          = can(regex("^p", each.value.single.statistic)) ? null : try(each.value.single.statistic, null)
  extended_statistic = can(regex("^p", each.value.single.statistic)) ? each.value.single.statistic : null

  # or metric math.
  dynamic "metric_query" {
    for_each = each.value.expression == null ? {} : each.value.metrics
    content {
      id = metric_query.key
      metric {
        namespace   = metric_query.value.namespace
        metric_name = metric_query.value.name
        dimensions  = metric_query.value.dimensions
        period      = each.value.seconds
        stat        = metric_query.value.statistic
      }
    }
  }
  dynamic "metric_query" {
    for_each = each.value.expression[*]
    content {
      id          = "value"
      expression  = metric_query.value
      label       = each.key
      return_data = true
    }
  }
}

resource "aws_cloudwatch_composite_alarm" "causes" {
  for_each = { for name, alarm in local.composite_alarms : name => alarm.causes if length(alarm.causes) > 1 }

  alarm_name        = "${local.name}-${each.key}-causes"
  alarm_description = "A cause of ${each.key} is raised."
  alarm_rule        = join(" OR ", [for cause in each.value : "ALARM(\"${cause}\")"])

  depends_on = [aws_cloudwatch_metric_alarm.catalog]
}

resource "aws_cloudwatch_composite_alarm" "catalog" {
  for_each = local.composite_alarms

  alarm_name        = "${local.name}-${each.key}"
  alarm_description = each.value.description
  alarm_rule        = join(" AND ", [for part in keys(each.value.parts) : "ALARM(\"${local.name}-${part}\")"])
  alarm_actions     = local.raised[each.value.severity]
  ok_actions        = local.ended[each.value.severity]

  dynamic "actions_suppressor" {
    for_each = length(each.value.causes) > 0 ? [each.value.causes] : []
    content {
      alarm = (
        length(actions_suppressor.value) > 1 ? aws_cloudwatch_composite_alarm.causes[each.key].alarm_name :
        one(actions_suppressor.value)
      )
      # A cause may be evaluated later in the same minute.
      wait_period      = 60
      extension_period = 3600
    }
  }

  depends_on = [aws_cloudwatch_metric_alarm.catalog]
}

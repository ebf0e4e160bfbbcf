# CloudWatch alarms of the queues, those that ../modules/catalog/alarms.yaml defines. All others of that file watch what the
# pods measure: they are Prometheus rules (kubernetes/components/prometheus-operator). Where an alarm compares
# a queue with Lambda's invocations, here it compares it with what anybody receives of it.

locals {
  defined_alarms = yamldecode(file("${path.module}/../modules/catalog/alarms.yaml"))

  queue_alarms = {
    for name, alarm in local.defined_alarms : name => merge(alarm, {
      queue = one(distinct([for metric in values(alarm.metrics) : metric.queue if can(metric.queue)]))
    })
    if anytrue([for metric in values(alarm.metrics) : can(metric.queue)])
  }

  # A page ends by itself; a ticket is closed by who has worked on it.
  raised = { page = var.page_topic_arn[*], ticket = var.ticket_topic_arn[*] }
  ended  = { page = var.page_topic_arn[*], ticket = [] }
}

resource "aws_cloudwatch_metric_alarm" "queue" {
  for_each = local.queue_alarms

  alarm_name          = "${local.name}-${each.key}"
  alarm_description   = "${each.value.summary} What to do: docs/operations.md#${each.key}"
  comparison_operator = can(each.value.above) ? "GreaterThanThreshold" : "LessThanThreshold"
  threshold           = try(each.value.above, each.value.below)
  evaluation_periods  = max(each.value.periods, try(each.value.of, 0))
  datapoints_to_alarm = each.value.periods
  treat_missing_data  = try(each.value.missing, "notBreaching")
  alarm_actions       = local.raised[each.value.severity]
  ok_actions          = local.ended[each.value.severity]

  dynamic "metric_query" {
    for_each = each.value.metrics
    content {
      id = metric_query.key
      metric {
        namespace   = "AWS/SQS"
        metric_name = can(metric_query.value.queue) ? metric_query.value.metric : "NumberOfMessagesReceived"
        dimensions  = { QueueName = local.queue_names[each.value.queue] }
        period      = try(each.value.seconds, 60)
        stat        = metric_query.value.statistic
      }
    }
  }

  metric_query {
    id          = "value"
    expression  = each.value.expression
    label       = each.key
    return_data = true
  }
}

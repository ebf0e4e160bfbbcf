# What starts the asynchronous functions: the two queues start sync; two EventBridge rules start bridge and
# reconcile every minute. A run of the bridge lasts until the next one has begun.

locals {
  # Runs of sync at a time for each queue.
  sync_concurrency = {
    single = var.sync.maximum_concurrency
    bulk   = var.sync.bulk_maximum_concurrency
  }
}

resource "aws_lambda_event_source_mapping" "sync" {
  for_each                           = local.sync_concurrency
  event_source_arn                   = module.queues.arns[each.key]
  function_name                      = module.sync.alias_arn
  batch_size                         = var.sync.batch_size
  maximum_batching_window_in_seconds = var.sync.batch_window_seconds
  # The function's response lists the messages of the batch that stay in the queue.
  function_response_types = ["ReportBatchItemFailures"]

  scaling_config {
    maximum_concurrency = each.value
  }

  lifecycle {
    precondition {
      condition     = var.sync.visibility_seconds >= 6 * var.functions.sync.timeout
      error_message = "sync.visibility_seconds must be at least 6 times functions.sync.timeout (${6 * var.functions.sync.timeout} s): AWS's advice, so that a throttled batch does not come back while it is worked on."
    }
    precondition {
      # The lease outlives the longest call, and the function must outlive the lease.
      condition     = var.functions.sync.timeout > ceil(var.sync.batch_size / var.sync.concurrency) * local.lease_seconds
      error_message = "functions.sync.timeout must exceed the lease (2 × supply_chain_timeout_seconds + 15) once per ${var.sync.concurrency} messages of a batch: ${ceil(var.sync.batch_size / var.sync.concurrency) * local.lease_seconds} s."
    }
    precondition {
      condition     = local.concurrency.sync == -1 || local.concurrency.sync >= sum(values(local.sync_concurrency))
      error_message = "functions.sync.concurrency must not be below sync.maximum_concurrency + sync.bulk_maximum_concurrency: each throttled batch uses up one of the receives of its messages."
    }
  }
}

moved {
  from = aws_lambda_event_source_mapping.sync
  to   = aws_lambda_event_source_mapping.sync["single"]
}

locals {
  scheduled = {
    bridge    = module.bridge
    reconcile = module.reconcile
  }
}

resource "aws_cloudwatch_event_rule" "every_minute" {
  for_each            = local.scheduled
  name                = each.value.function_name
  description         = "Starts ${each.value.function_name} every minute"
  schedule_expression = "rate(1 minute)"
}

# EventBridge passes each event to Lambda's asynchronous queue. Neither of them repeats a run that
# failed or is late: the next run does the same work a minute later.
resource "aws_cloudwatch_event_target" "function" {
  for_each = local.scheduled
  rule     = aws_cloudwatch_event_rule.every_minute[each.key].name
  arn      = each.value.alias_arn

  retry_policy {
    maximum_event_age_in_seconds = 60
    maximum_retry_attempts       = 0
  }

  depends_on = [aws_lambda_permission.rule, aws_lambda_function_event_invoke_config.no_retries]
}

resource "aws_lambda_function_event_invoke_config" "no_retries" {
  for_each                     = local.scheduled
  function_name                = each.value.function_name
  qualifier                    = each.value.alias_name
  maximum_event_age_in_seconds = 60
  maximum_retry_attempts       = 0
}

resource "aws_lambda_permission" "rule" {
  for_each      = local.scheduled
  function_name = each.value.function_name
  qualifier     = each.value.alias_name
  action        = "lambda:InvokeFunction"
  principal     = "events.amazonaws.com"
  source_arn    = aws_cloudwatch_event_rule.every_minute[each.key].arn
}

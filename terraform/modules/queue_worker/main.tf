# A function that a queue feeds; it answers which messages of a batch stay in the queue.

terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

module "function" {
  source = "../function"

  name        = var.name
  description = var.description
  handler     = var.handler
  zip         = var.zip
  size        = var.size
  permissions = merge(var.permissions, {
    # What Lambda does in the function's name.
    Work = {
      actions   = ["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"]
      resources = [var.queue_arn]
    }
  })
  pinned_version = var.pinned_version
  common         = var.common
}

resource "aws_lambda_event_source_mapping" "queue" {
  event_source_arn                   = var.queue_arn
  function_name                      = module.function.alias_arn
  batch_size                         = var.batch.size
  maximum_batching_window_in_seconds = var.batch.window_seconds
  function_response_types            = ["ReportBatchItemFailures"]

  scaling_config {
    maximum_concurrency = var.batch.maximum_concurrency
  }

  lifecycle {
    precondition {
      condition     = var.size.concurrency == -1 || var.size.concurrency >= var.batch.maximum_concurrency
      error_message = "The reserved concurrency of ${var.name} must not be below the maximum_concurrency of its queue: throttled batches cost receives."
    }
  }
}

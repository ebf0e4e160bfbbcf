# The queues of single and of bulk messages, and the dead-letter queue of both. Whoever consumes them,
# Lambda functions or pods, gets the same ones.

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  fourteen_days = 14 * 24 * 3600
  # Bulk messages (batch writes, redrives) have a queue of their own, so that single changes do not wait
  # for them. Both queues have the same attributes and the same dead-letter queue.
  names = {
    single = "product-sync${var.name_suffix}"
    bulk   = "product-sync-bulk${var.name_suffix}"
  }
  arn_prefix = "arn:${data.aws_partition.current.partition}:sqs:${data.aws_region.current.name}:${data.aws_caller_identity.current.account_id}"
  arns       = { for key, queue in aws_sqs_queue.sync : key => queue.arn }
}

resource "aws_sqs_queue" "sync" {
  for_each                   = local.names
  name                       = each.value
  visibility_timeout_seconds = var.visibility_seconds
  message_retention_seconds  = local.fourteen_days
  receive_wait_time_seconds  = 20

  # SQS's own encryption or the given key; both together are not allowed.
  sqs_managed_sse_enabled = var.kms_key_arn == null ? true : null
  kms_master_key_id       = var.kms_key_arn

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead_letters.arn
    # Only for messages that crash their worker: far above the receives that leases, duplicates and throttles use up.
    maxReceiveCount = max(200, 10 * var.max_attempts)
  })
}

resource "aws_sqs_queue" "dead_letters" {
  name                      = "product-sync-dlq${var.name_suffix}"
  message_retention_seconds = local.fourteen_days
  receive_wait_time_seconds = 20

  sqs_managed_sse_enabled = var.kms_key_arn == null ? true : null
  kms_master_key_id       = var.kms_key_arn

  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    # By name: the two queues refer to this one.
    sourceQueueArns = [for name in local.names : "${local.arn_prefix}:${name}"]
  })
}

data "aws_iam_policy_document" "queue" {
  for_each = merge(local.arns, { dead_letters = aws_sqs_queue.dead_letters.arn })

  statement {
    sid       = "TlsOnly"
    effect    = "Deny"
    actions   = ["sqs:*"]
    resources = [each.value]
    principals {
      type        = "*"
      identifiers = ["*"]
    }
    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_sqs_queue_policy" "tls_only" {
  for_each = !var.tls_only ? {} : merge(
    { for key, queue in aws_sqs_queue.sync : key => queue.url },
    { dead_letters = aws_sqs_queue.dead_letters.url },
  )

  queue_url = each.value
  policy    = data.aws_iam_policy_document.queue[each.key].json
}

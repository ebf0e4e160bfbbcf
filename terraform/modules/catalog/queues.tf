locals {
  fourteen_days = 14 * 24 * 3600
  # Bulk messages (batch writes, redrives) have a queue of their own, so that single changes do not wait
  # for them. Both queues have the same attributes and the same dead-letter queue.
  sync_queue_names = {
    single = "product-sync${var.name_suffix}"
    bulk   = "product-sync-bulk${var.name_suffix}"
  }
  sync_queue_arns = { for key, queue in aws_sqs_queue.sync : key => queue.arn }
}

resource "aws_sqs_queue" "sync" {
  for_each                   = local.sync_queue_names
  name                       = each.value
  visibility_timeout_seconds = var.sync.visibility_seconds
  message_retention_seconds  = local.fourteen_days
  receive_wait_time_seconds  = 20

  # SQS's own encryption or the given key; both together are not allowed.
  sqs_managed_sse_enabled = var.kms_key_arn == null ? true : null
  kms_master_key_id       = var.kms_key_arn

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead_letters.arn
    # Only for messages that crash their worker: far above the receives that leases, duplicates and throttles use up.
    maxReceiveCount = max(200, 10 * var.sync.max_attempts)
  })

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
  }
}

resource "aws_sqs_queue" "dead_letters" {
  name                      = "product-sync-dlq${var.name_suffix}"
  message_retention_seconds = local.fourteen_days
  receive_wait_time_seconds = 20

  sqs_managed_sse_enabled = var.kms_key_arn == null ? true : null
  kms_master_key_id       = var.kms_key_arn

  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = [for name in local.sync_queue_names : "arn:${local.partition}:sqs:${local.region}:${local.account}:${name}"]
  })
}

data "aws_iam_policy_document" "queue" {
  for_each = merge(local.sync_queue_arns, { dead_letters = aws_sqs_queue.dead_letters.arn })

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

# Not on an emulator: it is used without TLS and may enforce this.
resource "aws_sqs_queue_policy" "tls_only" {
  for_each = var.endpoint != null ? {} : merge(
    { for key, queue in aws_sqs_queue.sync : key => queue.url },
    { dead_letters = aws_sqs_queue.dead_letters.url },
  )

  queue_url = each.value
  policy    = data.aws_iam_policy_document.queue[each.key].json
}

# The single queue had no key in the first releases.
moved {
  from = aws_sqs_queue.sync
  to   = aws_sqs_queue.sync["single"]
}

moved {
  from = aws_sqs_queue_policy.tls_only["sync"]
  to   = aws_sqs_queue_policy.tls_only["single"]
}

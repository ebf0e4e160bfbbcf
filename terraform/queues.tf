locals {
  fourteen_days  = 14 * 24 * 3600
  sync_queue_arn = "arn:${local.partition}:sqs:${var.region}:${local.account}:product-sync${var.name_suffix}"
}

resource "aws_sqs_queue" "sync" {
  name                       = "product-sync${var.name_suffix}"
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
    sourceQueueArns   = [local.sync_queue_arn]
  })
}

data "aws_iam_policy_document" "queue" {
  for_each = {
    sync         = aws_sqs_queue.sync.arn
    dead_letters = aws_sqs_queue.dead_letters.arn
  }

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
  for_each = var.endpoint != null ? {} : {
    sync         = aws_sqs_queue.sync.url
    dead_letters = aws_sqs_queue.dead_letters.url
  }

  queue_url = each.value
  policy    = data.aws_iam_policy_document.queue[each.key].json
}

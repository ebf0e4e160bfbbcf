module "queues" {
  source = "../queues"

  name_suffix        = var.name_suffix
  visibility_seconds = var.sync.visibility_seconds
  max_attempts       = var.sync.max_attempts
  kms_key_arn        = var.kms_key_arn
  # An emulator is used without TLS and may enforce this.
  tls_only = var.endpoint == null
}

# The single queue had no key in the first releases, and no module.
moved {
  from = aws_sqs_queue.sync
  to   = aws_sqs_queue.sync["single"]
}

moved {
  from = aws_sqs_queue_policy.tls_only["sync"]
  to   = aws_sqs_queue_policy.tls_only["single"]
}

moved {
  from = aws_sqs_queue.sync["single"]
  to   = module.queues.aws_sqs_queue.sync["single"]
}

moved {
  from = aws_sqs_queue.sync["bulk"]
  to   = module.queues.aws_sqs_queue.sync["bulk"]
}

moved {
  from = aws_sqs_queue.dead_letters
  to   = module.queues.aws_sqs_queue.dead_letters
}

moved {
  from = aws_sqs_queue_policy.tls_only
  to   = module.queues.aws_sqs_queue_policy.tls_only
}

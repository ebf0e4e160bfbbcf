# Who may do what is in this file alone: each function names its actions and their resources.

locals {
  zips = {
    api       = "${path.module}/${var.artifacts}/api.zip"
    functions = "${path.module}/${var.artifacts}/functions.zip"
  }

  common = {
    architecture       = var.architecture
    environment        = local.environment
    log_level          = var.log_level
    log_retention_days = var.log_retention_days
    kms_key_arn        = var.kms_key_arn
    vpc                = var.vpc
  }

  read_secrets = {
    actions   = ["secretsmanager:GetSecretValue"]
    resources = [aws_secretsmanager_secret.catalog.arn]
  }

  # AWS asks for the action of one when a batch comes; an emulator may ask by the name of the call.
  batch  = var.endpoint == null ? [""] : ["", "Batch"]
  send   = [for end in local.batch : "sqs:SendMessage${end}"]
  hide   = [for end in local.batch : "sqs:ChangeMessageVisibility${end}"]
  delete = [for end in local.batch : "sqs:DeleteMessage${end}"]

  ring = {
    actions   = local.send
    resources = [aws_sqs_queue.sync.arn]
  }
  bury = {
    actions   = local.send
    resources = [aws_sqs_queue.dead_letters.arn]
  }
}

module "api" {
  source = "./modules/function"

  name        = "${local.name}-api"
  description = "Product catalog: the HTTP API"
  handler     = "app.app"
  zip         = local.zips.api
  size        = var.functions.api
  permissions = {
    Secrets = local.read_secrets
    Ring    = local.ring
    # Readiness asks whether the queue answers.
    Ready = { actions = ["sqs:GetQueueAttributes"], resources = [aws_sqs_queue.sync.arn] }
  }
  pinned_version = lookup(var.pinned_versions, "api", null)
  common         = local.common
}

module "authorizer" {
  source = "./modules/function"

  name           = "${local.name}-authorizer"
  description    = "Product catalog: bearer tokens to allowed operations"
  handler        = "app.authorize"
  zip            = local.zips.api
  size           = var.functions.authorizer
  permissions    = { Secrets = local.read_secrets }
  pinned_version = lookup(var.pinned_versions, "authorizer", null)
  common         = local.common
}

resource "aws_scheduler_schedule_group" "catalog" {
  name = local.name
}

module "bridge" {
  source = "./modules/scheduled_function"

  name           = "${local.name}-bridge"
  description    = "Product catalog: forwards events from NATS to SQS"
  handler        = "functions.bridge.handler"
  zip            = local.zips.functions
  size           = var.functions.bridge
  permissions    = { Secrets = local.read_secrets, Ring = local.ring, Bury = local.bury }
  pinned_version = lookup(var.pinned_versions, "bridge", null)
  common         = local.common
  schedule_group = aws_scheduler_schedule_group.catalog.name
  account        = local.account
}

module "sync" {
  source = "./modules/queue_worker"

  name        = "${local.name}-sync"
  description = "Product catalog: delivers to the supply chain"
  handler     = "functions.sync.handler"
  zip         = local.zips.functions
  size        = var.functions.sync
  permissions = {
    Secrets = local.read_secrets
    Ring    = local.ring
    Bury    = local.bury
    Hide    = { actions = local.hide, resources = [aws_sqs_queue.sync.arn] }
  }
  pinned_version = lookup(var.pinned_versions, "sync", null)
  common         = local.common
  queue_arn      = aws_sqs_queue.sync.arn
  batch = {
    size                = var.sync.batch_size
    window_seconds      = var.sync.batch_window_seconds
    maximum_concurrency = var.sync.maximum_concurrency
  }
}

module "reconcile" {
  source = "./modules/scheduled_function"

  name        = "${local.name}-reconcile"
  description = "Product catalog: heals what was lost on the way"
  handler     = "functions.reconcile.handler"
  zip         = local.zips.functions
  size        = var.functions.reconcile
  permissions = {
    Secrets = local.read_secrets
    Ring    = local.ring
    Settle = {
      actions   = concat(local.hide, local.delete, ["sqs:ReceiveMessage"])
      resources = [aws_sqs_queue.dead_letters.arn]
    }
  }
  pinned_version = lookup(var.pinned_versions, "reconcile", null)
  common         = local.common
  schedule_group = aws_scheduler_schedule_group.catalog.name
  account        = local.account
}

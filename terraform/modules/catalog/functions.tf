# The six functions. Only this file has their permissions: each function lists the actions that it
# may call and the resources it may call them on.

locals {
  zips = {
    api       = "${var.artifacts}/api.zip"
    functions = "${var.artifacts}/functions.zip"
  }

  # How often each function runs at a time, at most: its share of the account's, which nobody else can take,
  # and the limit of what it takes of MongoDB. -1: none.
  concurrency = {
    api        = coalesce(var.functions.api.concurrency, 40)
    authorizer = coalesce(var.functions.authorizer.concurrency, 25)
    # Each run overlaps with the next one; there may be one by hand.
    bridge    = coalesce(var.functions.bridge.concurrency, 4)
    sync      = coalesce(var.functions.sync.concurrency, sum(values(local.sync_concurrency)))
    reconcile = coalesce(var.functions.reconcile.concurrency, 2)
    migrate   = coalesce(var.functions.migrate.concurrency, 2)
  }
  reserved = sum([for runs in values(local.concurrency) : max(runs, 0)])
  sizes    = { for name, size in var.functions : name => merge(size, { concurrency = local.concurrency[name] }) }

  # The authorizer does not use MongoDB.
  store_users      = [for name, runs in local.concurrency : runs if name != "authorizer"]
  store_containers = sum([for runs in local.store_users : max(runs, 0)]) + (contains(local.store_users, -1) ? var.account_concurrency - local.reserved : 0)

  common = {
    release            = local.release
    runtime            = var.runtime
    architecture       = var.architecture
    environment        = local.environment
    log_level          = var.log_level
    system_log_level   = var.system_log_level
    tracing_mode       = var.xray.mode
    log_retention_days = var.log_retention_days
    kms_key_arn        = var.kms_key_arn
    vpc                = var.vpc
    # Names of roles are of the whole account: another region may have the same function.
    role = {
      suffix               = "-${local.region}"
      path                 = var.iam_path
      permissions_boundary = var.permissions_boundary
    }
    shifted = var.canary != null
  }

  read_secrets = {
    actions   = ["secretsmanager:GetSecretValue"]
    resources = [aws_secretsmanager_secret.catalog.arn]
  }

  # AWS authorizes a batch call by the action for one message. An emulator may ask for an action
  # with the name of the batch call.
  batch_suffixes    = var.endpoint == null ? [""] : ["", "Batch"]
  send              = [for suffix in local.batch_suffixes : "sqs:SendMessage${suffix}"]
  change_visibility = [for suffix in local.batch_suffixes : "sqs:ChangeMessageVisibility${suffix}"]
  delete            = [for suffix in local.batch_suffixes : "sqs:DeleteMessage${suffix}"]

  enqueue = {
    actions   = local.send
    resources = values(module.queues.arns)
  }
  dead_letter = {
    actions   = local.send
    resources = [module.queues.dead_letters.arn]
  }
}

module "api" {
  source = "../function"

  name        = "${local.name}-api"
  description = "Product catalog: the HTTP API"
  handler     = "app.app"
  zip         = local.zips.api
  size        = local.sizes.api
  permissions = {
    Secrets = local.read_secrets
    Enqueue = local.enqueue
    # GET /ready asks whether the queue answers, GET /sync/dead-letters how many letters there are.
    Ready = {
      actions   = ["sqs:GetQueueAttributes"]
      resources = [module.queues.arns.single, module.queues.dead_letters.arn]
    }
  }
  pinned_version = lookup(var.pinned_versions, "api", null)
  alias_after    = aws_lambda_invocation.migrate.id
  common         = local.common
}

module "authorizer" {
  source = "../function"

  name           = "${local.name}-authorizer"
  description    = "Product catalog: maps bearer tokens to allowed operations"
  handler        = "app.authorize"
  zip            = local.zips.api
  size           = local.sizes.authorizer
  permissions    = { Secrets = local.read_secrets }
  pinned_version = lookup(var.pinned_versions, "authorizer", null)
  alias_after    = aws_lambda_invocation.migrate.id
  common         = local.common
}

module "bridge" {
  source = "../function"

  name        = "${local.name}-bridge"
  description = "Product catalog: forwards events from NATS to SQS"
  handler     = "functions.bridge.handler"
  zip         = local.zips.functions
  size        = local.sizes.bridge
  permissions = {
    Secrets    = local.read_secrets
    Enqueue    = local.enqueue
    DeadLetter = local.dead_letter
  }
  pinned_version = lookup(var.pinned_versions, "bridge", null)
  alias_after    = aws_lambda_invocation.migrate.id
  common         = local.common
}

module "sync" {
  source = "../function"

  name        = "${local.name}-sync"
  description = "Product catalog: delivers to the supply chain"
  handler     = "functions.sync.handler"
  zip         = local.zips.functions
  size        = local.sizes.sync
  permissions = {
    Secrets = local.read_secrets
    # No Enqueue: a function that sends to a queue that feeds it is stopped by Lambda's loop detection.
    DeadLetter = local.dead_letter
    ChangeVisibility = {
      actions   = local.change_visibility
      resources = values(module.queues.arns)
    }
    # Used by Lambda's event source mappings, which act with the function's role. The function itself
    # asks for the number of messages in flight (GetQueueAttributes).
    Consume = {
      actions   = ["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"]
      resources = values(module.queues.arns)
    }
  }
  pinned_version = lookup(var.pinned_versions, "sync", null)
  alias_after    = aws_lambda_invocation.migrate.id
  common         = local.common
}

module "reconcile" {
  source = "../function"

  name        = "${local.name}-reconcile"
  description = "Product catalog: repairs what was lost"
  handler     = "functions.reconcile.handler"
  zip         = local.zips.functions
  size        = local.sizes.reconcile
  permissions = {
    Secrets    = local.read_secrets
    Enqueue    = local.enqueue
    DeadLetter = local.dead_letter
    ConsumeDeadLetters = {
      actions   = concat(local.change_visibility, local.delete, ["sqs:GetQueueAttributes", "sqs:ReceiveMessage"])
      resources = [module.queues.dead_letters.arn]
    }
  }
  pinned_version = lookup(var.pinned_versions, "reconcile", null)
  alias_after    = aws_lambda_invocation.migrate.id
  common         = local.common
}

# Makes the indexes before any alias moves to a version that needs them. An index that is needed no
# more is dropped by the release after, so the versions in use work meanwhile.
module "migrate" {
  source = "../function"

  name        = "${local.name}-migrate"
  description = "Product catalog: makes and changes the indexes"
  handler     = "functions.migrate.handler"
  zip         = local.zips.functions
  size        = local.sizes.migrate
  permissions = { Secrets = local.read_secrets }
  # Nobody but a person calls its alias: there is no traffic to move.
  common = merge(local.common, { shifted = false })
}

# An apply whose run fails stops before the aliases; the next apply runs it again.
resource "aws_lambda_invocation" "migrate" {
  function_name = module.migrate.function_name
  qualifier     = module.migrate.newest_version
  input         = jsonencode({})

  triggers = {
    # Changes with the code and with the settings.
    version = module.migrate.newest_version
    # The address of another MongoDB.
    secret = local.secret_version
  }
}

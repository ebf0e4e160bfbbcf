# What all parts share. The parts: queues.tf, secrets.tf, functions.tf, triggers.tf, api.tf,
# observability.tf.

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  name              = "product-catalog${var.name_suffix}"
  account           = data.aws_caller_identity.current.account_id
  partition         = data.aws_partition.current.partition
  region            = data.aws_region.current.name
  metrics_namespace = var.name_suffix == "" ? "ProductCatalog" : "ProductCatalog${var.name_suffix}"

  manifest = jsondecode(file("${var.artifacts}/manifest.json"))
  routes   = jsondecode(file("${var.artifacts}/routes.json"))
  # Null if the manifest is of a tools/package.py that did not write it.
  packaged_runtime = try(local.manifest.runtime, null)

  # Names what is released together, in the description of each version: artifacts and settings. A change of
  # one function publishes a version of each, so that a rollback (tools/rollback.py) finds them all.
  release = substr(sha256(jsonencode([
    local.manifest.zips, local.environment, var.functions, var.runtime, var.architecture, var.log_level,
    var.system_log_level, var.xray.mode, var.kms_key_arn, var.vpc,
  ])), 0, 10)

  # The same as Settings.lease_seconds: how long a worker may call for one product.
  lease_seconds = 2 * var.supply_chain_timeout_seconds + 15

  environment = { for name, value in {
    CATALOG_MODE                 = var.mode
    MONGODB_DATABASE             = var.mongodb_database
    MONGODB_MAX_POOL_SIZE        = var.mongodb.max_pool_size == null ? null : tostring(var.mongodb.max_pool_size)
    MONGODB_MAX_IDLE_SECONDS     = var.mongodb.max_idle_seconds == null ? null : tostring(var.mongodb.max_idle_seconds)
    NATS_URL                     = var.nats_url
    NATS_STREAM_MAX_BYTES        = var.nats_stream_max_bytes == null ? null : tostring(var.nats_stream_max_bytes)
    NATS_PREFIX                  = var.nats_prefix
    NATS_STREAM_REPLICAS         = var.nats_stream_replicas == null ? null : tostring(var.nats_stream_replicas)
    NATS_CONSUMER_START          = var.nats_consumer_start
    SYNC_QUEUE_URL               = module.queues.urls.single
    SYNC_BULK_QUEUE_URL          = module.queues.urls.bulk
    SYNC_DLQ_URL                 = module.queues.dead_letters.url
    SUPPLY_CHAIN_URL             = var.supply_chain_url
    SUPPLY_CHAIN_TIMEOUT_SECONDS = tostring(var.supply_chain_timeout_seconds)
    SUPPLY_CHAIN_REJECT_STATUSES = join(",", var.sync.reject_statuses)
    SYNC_MAX_ATTEMPTS            = tostring(var.sync.max_attempts)
    SYNC_HORIZON_SECONDS         = tostring(var.sync.horizon_seconds)
    SYNC_MAX_WAIT_SECONDS        = tostring(var.sync.max_wait_seconds)
    SYNC_CONCURRENCY             = tostring(var.sync.concurrency)
    SYNC_MAX_IN_FLIGHT           = tostring(var.sync.max_in_flight)
    SUPPLY_CHAIN_MAX_RATE        = var.supply_chain_max_rate == null ? null : tostring(var.supply_chain_max_rate)
    BREAKER_FAILURES             = tostring(var.breaker.failures)
    BREAKER_PRODUCTS             = tostring(var.breaker.products)
    BREAKER_SHARE                = tostring(var.breaker.share)
    BREAKER_WINDOW_SECONDS       = tostring(var.breaker.window_seconds)
    BREAKER_PROBE_SECONDS        = tostring(var.breaker.probe_seconds)
    BREAKER_SUCCESSES            = tostring(var.breaker.successes)
    BREAKER_RAMP_RATE            = tostring(var.breaker.ramp_rate)
    BREAKER_RAMP_STEP_SECONDS    = tostring(var.breaker.ramp_step_seconds)
    RECONCILE_GRACE_SECONDS      = tostring(var.sync.reconcile_grace_seconds)
    AUDIT_SAMPLE                 = tostring(var.audit.sample)
    AUDIT_MAX_RATE               = tostring(var.audit.max_rate)
    AUDIT_REPAIR                 = tostring(var.audit.repair)
    REPUBLISH_MAX_RATE           = var.republish_max_rate == null ? null : tostring(var.republish_max_rate)
    CATALOG_JWKS_URL             = var.jwks_url
    CATALOG_JWT_ISSUER           = var.jwt_issuer
    CATALOG_JWT_AUDIENCE         = var.jwt_audience
    CORS_ORIGIN                  = var.cors_origin
    CATALOG_SECRET_ID            = aws_secretsmanager_secret.catalog.arn
    LOG_LEVEL                    = var.log_level
    METRICS_NAMESPACE            = local.metrics_namespace
  } : name => value if value != null }
}

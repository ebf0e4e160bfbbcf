# Written by `make terraform-docs` from modules/catalog: change that, not this.

module "catalog" {
  source = "./modules/catalog"

  endpoint                     = var.endpoint
  name_suffix                  = var.name_suffix
  artifacts                    = "${path.root}/${var.artifacts}"
  architecture                 = var.architecture
  runtime                      = var.runtime
  functions                    = var.functions
  account_concurrency          = var.account_concurrency
  canary                       = var.canary
  pinned_versions              = var.pinned_versions
  log_level                    = var.log_level
  system_log_level             = var.system_log_level
  xray                         = var.xray
  log_retention_days           = var.log_retention_days
  kms_key_arn                  = var.kms_key_arn
  vpc                          = var.vpc
  iam_path                     = var.iam_path
  permissions_boundary         = var.permissions_boundary
  mode                         = var.mode
  nats_url                     = var.nats_url
  nats_stream_max_bytes        = var.nats_stream_max_bytes
  nats_prefix                  = var.nats_prefix
  nats_stream_replicas         = var.nats_stream_replicas
  nats_consumer_start          = var.nats_consumer_start
  supply_chain_url             = var.supply_chain_url
  supply_chain_timeout_seconds = var.supply_chain_timeout_seconds
  mongodb_database             = var.mongodb_database
  mongodb                      = var.mongodb
  jwks_url                     = var.jwks_url
  jwt_issuer                   = var.jwt_issuer
  jwt_audience                 = var.jwt_audience
  sync                         = var.sync
  supply_chain_max_rate        = var.supply_chain_max_rate
  breaker                      = var.breaker
  audit                        = var.audit
  republish_max_rate           = var.republish_max_rate
  throttle                     = var.throttle
  ready_throttle               = var.ready_throttle
  api_keys_required            = var.api_keys_required
  cors_origin                  = var.cors_origin
  domain                       = var.domain
  web_acl_arn                  = var.web_acl_arn
  manage_account_logging       = var.manage_account_logging
  page_topic_arn               = var.page_topic_arn
  ticket_topic_arn             = var.ticket_topic_arn
  alarm_emails                 = var.alarm_emails
  alarms                       = var.alarms
}

variable "endpoint" {
  description = "Address of an AWS emulator (MiniStack, LocalStack) that serves every service; null for AWS itself."
  type        = string
  default     = null
}

variable "name_suffix" {
  description = "Appended to every name, such as -staging, so that several deployments fit into one account."
  type        = string
  default     = null
}

variable "artifacts" {
  description = "Folder with the output of `make package`."
  type        = string
  default     = "../dist"
}

variable "architecture" {
  description = "Processor of the functions: arm64 or x86_64. The artifacts must be packaged for the same one."
  type        = string
  default     = null
}

variable "runtime" {
  description = "Lambda runtime of the functions. The artifacts must be packaged by the same version of Python."
  type        = string
  default     = null
}

variable "functions" {
  description = "Memory in MB, timeout in seconds and reserved concurrency of each function. What is left out has its default. The default of concurrency is in functions.tf; -1 reserves none. The CPU share grows with memory: 256 MB are enough for a bridge that forwards 100 to 200 events a second (docs/cost.md)."
  type = object({
    api        = optional(object({ memory = optional(number, 1024), timeout = optional(number, 20), concurrency = optional(number) }), {})
    authorizer = optional(object({ memory = optional(number, 512), timeout = optional(number, 10), concurrency = optional(number) }), {})
    bridge     = optional(object({ memory = optional(number, 256), timeout = optional(number, 90), concurrency = optional(number) }), {})
    sync       = optional(object({ memory = optional(number, 512), timeout = optional(number, 60), concurrency = optional(number) }), {})
    reconcile  = optional(object({ memory = optional(number, 512), timeout = optional(number, 60), concurrency = optional(number) }), {})
    migrate    = optional(object({ memory = optional(number, 256), timeout = optional(number, 900), concurrency = optional(number) }), {})
  })
  default = null
}

variable "account_concurrency" {
  description = "How many runs of functions the account allows at a time in this region (aws lambda get-account-settings). AWS keeps 100 of them for functions without a reservation."
  type        = number
  default     = null
}

variable "canary" {
  description = "How CodeDeploy moves the aliases to a new version, as the name of a deployment configuration, such as CodeDeployDefault.LambdaCanary10Percent5Minutes: alarms move them back. Null: Terraform moves them itself, at once. The first deployment needs null, since there is nothing to move from. Each apply is followed by python -m tools.canary (docs/deploy.md)."
  type        = string
  default     = null
}

variable "pinned_versions" {
  description = "For a rollback: the version that a function's alias points to instead of the newest, by function name."
  type        = map(string)
  default     = null
}

variable "log_level" {
  description = "Lowest level that is logged: DEBUG or INFO."
  type        = string
  default     = null
}

variable "system_log_level" {
  description = "Lowest level of what Lambda itself logs about each run: DEBUG, INFO or WARN. At WARN only runs that fail are logged; INFO adds about 700 bytes per run, more than the catalog's own lines."
  type        = string
  default     = null
}

variable "xray" {
  description = "What X-Ray records of the requests to the API: so many per second, and this share of the others. With mode PassThrough the functions record those requests only; with Active they also record runs of their own, one per second and 5 % of the others, which no rule can change."
  type = object({
    per_second = optional(number, 0)
    share      = optional(number, 0.01)
    mode       = optional(string, "PassThrough")
  })
  default = null
}

variable "log_retention_days" {
  description = "Number of days that logs are kept."
  type        = number
  default     = null
}

variable "kms_key_arn" {
  description = "ARN of your own KMS key for the secret, the queues, the logs and the functions' environment variables; null for keys that AWS manages. The key policy must allow CloudWatch Logs and this account to use it."
  type        = string
  default     = null
}

variable "vpc" {
  description = "Subnets and security groups of the functions, for a private NATS or Atlas PrivateLink; null for no VPC. SQS and Secrets Manager must be reachable from the subnets."
  type = object({
    subnet_ids         = set(string)
    security_group_ids = set(string)
  })
  default = null
}

variable "iam_path" {
  description = "Path of the IAM roles, such as /catalog/."
  type        = string
  default     = null
}

variable "permissions_boundary" {
  description = "ARN of the policy that bounds what the roles may do; null for none."
  type        = string
  default     = null
}

variable "mode" {
  description = "What the catalog does: normal, or restore, in which it accepts no writes and delivers nothing. Null for normal."
  type        = string
  default     = null
}

variable "nats_url" {
  description = "URL of the NATS servers, such as tls://connect.ngs.global."
  type        = string
}

variable "nats_stream_max_bytes" {
  description = "Maximum size in bytes of the stream PRODUCTS; the migration raises a smaller one (docs/nats.md). Some NATS services require one. A full stream refuses events, which then wait in the outboxes. Null for no limit."
  type        = number
  default     = null
}

variable "nats_prefix" {
  description = "Prefix of the names of stream, consumer and subjects, so that several deployments can share one NATS account; null for none."
  type        = string
  default     = null
}

variable "nats_stream_replicas" {
  description = "On how many servers of a NATS cluster the stream is kept: 1, 3 or 5. The migration raises a smaller number (docs/nats.md). Null for the default of the functions, 1."
  type        = number
  default     = null
}

variable "nats_consumer_start" {
  description = "Where a consumer that is made anew begins in the stream, as NATS_CONSUMER_START; null for the default of the functions."
  type        = string
  default     = null
}

variable "supply_chain_url" {
  description = "Base URL of the supply chain API."
  type        = string
}

variable "supply_chain_timeout_seconds" {
  description = "Timeout in seconds of one call to the supply chain as a whole."
  type        = number
  default     = null
}

variable "mongodb_database" {
  description = "Name of the MongoDB database."
  type        = string
  default     = null
}

variable "mongodb" {
  description = "Connections to MongoDB: of each container at most, how many seconds an idle one is kept, and how many a node accepts (Atlas: M0 500, M10 1500, M20 and M30 3000; null: not checked). Null for the defaults of the functions."
  type = object({
    max_pool_size    = optional(number)
    max_idle_seconds = optional(number)
    max_connections  = optional(number, 1500)
  })
  default = null
}

variable "jwks_url" {
  description = "JWKS URL at which the identity provider publishes its keys (RS256, ES256); null if tokens are signed with CATALOG_JWT_SECRET."
  type        = string
  default     = null
}

variable "jwt_issuer" {
  description = "Value that the claim iss of a token must have; required with jwks_url."
  type        = string
  default     = null
}

variable "jwt_audience" {
  description = "Value that the claim aud of a token must have or contain; required with jwks_url."
  type        = string
  default     = null
}

variable "sync" {
  description = "Retry schedule, sync queues and event source mappings. What is left out has its default."
  type = object({
    max_attempts             = optional(number, 18)              # calls for one version of a product
    horizon_seconds          = optional(number, 259200)          # from the first attempt to the last
    max_wait_seconds         = optional(number, 39600)           # between two attempts
    reconcile_grace_seconds  = optional(number, 300)             # a product this much overdue is enqueued again
    concurrency              = optional(number, 10)              # calls at a time within one run of the function
    batch_size               = optional(number, 10)              # messages per run, at most
    batch_window_seconds     = optional(number, 1)               # wait for a full batch
    maximum_concurrency      = optional(number, 10)              # runs of the function at a time for single changes
    bulk_maximum_concurrency = optional(number, 4)               # and for bulk messages: what an import may take of the supply chain and the store
    visibility_seconds       = optional(number, 360)             # visibility timeout of both queues
    reject_statuses          = optional(set(number), [413, 422]) # answers that are not retried
    max_in_flight            = optional(number, 60000)           # with more messages in flight in a queue, long waits are parked in the documents
  })
  default = null
}

variable "supply_chain_max_rate" {
  description = "Limit of calls per second to the supply chain, over all functions; null for none. Each second with calls costs a few writes of one document in MongoDB."
  type        = number
  default     = null
}

variable "breaker" {
  description = "When the circuit breaker in front of the supply chain opens and closes (docs/architecture.md, The circuit breaker). What is left out has its default."
  type = object({
    failures          = optional(number, 10)  # it opens after so many systemic failures ...
    products          = optional(number, 5)   # ... of so many products ...
    share             = optional(number, 0.8) # ... that are at least this share of all calls ...
    window_seconds    = optional(number, 30)  # ... within so many seconds
    probe_seconds     = optional(number, 2)   # from a probe that failed to the next one
    successes         = optional(number, 3)   # it closes after so many probes in a row that were answered
    ramp_rate         = optional(number, 20)  # calls per second when it has closed; doubled ...
    ramp_step_seconds = optional(number, 5)   # ... every so many seconds; after ten steps there is no limit
  })
  default = null
}

variable "audit" {
  description = "How the catalog is compared with what the supply chain holds (docs/audit.md). What is left out has its default."
  type = object({
    sample   = optional(number, 20) # products that each run of reconcile compares; 0 for none
    max_rate = optional(number, 10) # questions per second of a full audit
    repair   = optional(bool, true) # what differs is delivered again
  })
  default = null
}

variable "republish_max_rate" {
  description = "Events per second of a republish of the whole catalog, unless its request says otherwise. Null for the default of the functions."
  type        = number
  default     = null
}

variable "throttle" {
  description = "Throttle of API Gateway over all callers: requests per second, and burst."
  type        = object({ rate = number, burst = number })
  default     = null
}

variable "ready_throttle" {
  description = "Throttle of GET /ready over all callers, which needs no token and asks MongoDB, NATS and SQS: requests per second, and burst."
  type        = object({ rate = number, burst = number })
  default     = null
}

variable "api_keys_required" {
  description = "Whether requests that need a token also need an API key of the usage plan, in the header X-Api-Key. Each key is counted and throttled separately."
  type        = bool
  default     = null
}

variable "cors_origin" {
  description = "Origin whose web pages may call the API (CORS), or * for any; null for none."
  type        = string
  default     = null
}

variable "domain" {
  description = "Custom domain of the API and the ARN of its certificate in this region; null for none. Create its DNS record from the output domain_target."
  type        = object({ name = string, certificate_arn = string })
  default     = null
}

variable "web_acl_arn" {
  description = "ARN of an AWS WAF web ACL that protects the API; null for none."
  type        = string
  default     = null
}

variable "manage_account_logging" {
  description = "Whether to set the IAM role with which API Gateway writes logs. An account has one such setting per region: false if it is managed elsewhere."
  type        = bool
  default     = null
}

variable "page_topic_arn" {
  description = "ARN of the SNS topic for alarms that must wake somebody, and for their end; null if they notify nobody."
  type        = string
  default     = null
}

variable "ticket_topic_arn" {
  description = "ARN of the SNS topic for alarms that can wait for the next working day; null if they notify nobody."
  type        = string
  default     = null
}

variable "alarm_emails" {
  description = "Addresses for which the module makes the SNS topics itself, instead of page_topic_arn and ticket_topic_arn. Each address must confirm its subscription. With kms_key_arn, the key's policy must allow CloudWatch to use it."
  type = object({
    page   = optional(set(string), [])
    ticket = optional(set(string), [])
  })
  default = null
}

variable "alarms" {
  description = "Other thresholds, and other numbers of periods (mostly minutes) until an alarm is raised, than those of alarms.yaml, by the alarm's name: { undelivered = { threshold = 7200 }, sync-paused = { periods = 120 } }."
  type        = map(object({ threshold = optional(number), periods = optional(number) }))
  default     = null
}

output "api_url" {
  description = "Base URL of the API."
  value       = module.catalog.api_url
}

output "queue_url" {
  description = "URL of the sync queue."
  value       = module.catalog.queue_url
}

output "bulk_queue_url" {
  description = "URL of the queue of bulk messages."
  value       = module.catalog.bulk_queue_url
}

output "dlq_url" {
  description = "URL of the dead-letter queue."
  value       = module.catalog.dlq_url
}

output "secret_arn" {
  description = "ARN of the secret."
  value       = module.catalog.secret_arn
}

output "functions" {
  description = "Name, version in use, and ARN of the role of each function."
  value       = module.catalog.functions
}

output "dashboard" {
  description = "Name of the CloudWatch dashboard."
  value       = module.catalog.dashboard
}

output "domain_target" {
  description = "Name and hosted zone that the DNS record of the custom domain must point to; null without a custom domain."
  value       = module.catalog.domain_target
}

output "secret_name" {
  description = "Name of the secret."
  value       = module.catalog.secret_name
}

output "alarm_topics" {
  description = "ARNs of the SNS topics that alarms go to, for page and for ticket."
  value       = module.catalog.alarm_topics
}

output "canary" {
  description = "What `python -m tools.canary` moves: the application of CodeDeploy, and by deployment group the function and its newest version. Null without `canary`."
  value       = module.catalog.canary
}

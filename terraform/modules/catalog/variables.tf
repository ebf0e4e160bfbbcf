# ---- where ----

variable "endpoint" {
  description = "Address of an AWS emulator (MiniStack, LocalStack) that serves every service; null for AWS itself."
  type        = string
  default     = null
  validation {
    condition     = var.endpoint == null || can(regex("^https?://[^/]+$", var.endpoint))
    error_message = "endpoint must be http(s)://host[:port], without a path."
  }
}

variable "name_suffix" {
  description = "Appended to every name, such as -staging, so that several deployments fit into one account."
  type        = string
  default     = ""
  nullable    = false
  validation {
    condition     = var.name_suffix == "" || can(regex("^-[a-z0-9-]{1,20}$", var.name_suffix))
    error_message = "name_suffix must be empty, or a hyphen and lower case letters, digits and hyphens."
  }
}

# ---- what runs ----

variable "artifacts" {
  description = "Folder with the output of `make package`."
  type        = string
}

variable "architecture" {
  description = "Processor of the functions: arm64 or x86_64. The artifacts must be packaged for the same one."
  type        = string
  default     = "arm64"
  nullable    = false
  validation {
    condition     = contains(["arm64", "x86_64"], var.architecture)
    error_message = "architecture must be arm64 or x86_64."
  }
}

variable "runtime" {
  description = "Lambda runtime of the functions. The artifacts must be packaged by the same version of Python."
  type        = string
  default     = "python3.13"
  nullable    = false
  validation {
    condition     = contains(["python3.11", "python3.12", "python3.13", "python3.14"], var.runtime)
    error_message = "runtime must be python3.11, python3.12, python3.13 or python3.14."
  }
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
  default  = {}
  nullable = false
  validation {
    condition     = alltrue([for f in values(var.functions) : f.memory >= 256 && f.memory <= 10240 && f.timeout >= 1 && f.timeout <= 900 && try(f.concurrency >= -1 && f.concurrency != 0, true)])
    error_message = "functions: memory must be 256 to 10240, timeout 1 to 900, concurrency -1 or at least 1."
  }
  validation {
    condition     = var.functions.api.timeout <= 29
    error_message = "functions.api.timeout must be 29 at most: API Gateway waits no longer."
  }
  validation {
    # functions/bridge.py reserves 8 s to finish what it has pulled. What is left of 75 s covers a next
    # run that starts 7 s late; more than 120 s would be three runs at a time.
    condition     = var.functions.bridge.timeout >= 75 && var.functions.bridge.timeout <= 120
    error_message = "functions.bridge.timeout must be 75 to 120: a run must last until the next one, a minute later, has certainly begun."
  }
  validation {
    condition     = try(var.functions.bridge.concurrency == -1 || var.functions.bridge.concurrency >= 2, var.functions.bridge.concurrency == null)
    error_message = "functions.bridge.concurrency must be -1 or at least 2: the next run begins before the last one ends."
  }
  validation {
    # functions/reconcile.py reserves 20 s to finish the page that is in progress.
    condition     = var.functions.reconcile.timeout >= 40
    error_message = "functions.reconcile.timeout must be at least 40: its last 20 s are reserved for the page that is in progress."
  }
  validation {
    # functions/migrate.py reserves 20 s to say that the time was not enough.
    condition     = var.functions.migrate.timeout >= 60
    error_message = "functions.migrate.timeout must be at least 60, better 900: it waits until an index is built."
  }
}

variable "account_concurrency" {
  description = "How many runs of functions the account allows at a time in this region (aws lambda get-account-settings). AWS keeps 100 of them for functions without a reservation."
  type        = number
  default     = 1000
  nullable    = false
  validation {
    condition     = local.reserved == 0 || local.reserved <= var.account_concurrency - 100
    error_message = "The functions reserve ${local.reserved} runs at a time, and AWS keeps 100 of an account's: account_concurrency must be at least ${local.reserved + 100}. Raise the quota (Service Quotas, Lambda, Concurrent executions) and this variable, or reserve less, such as functions = { api = { concurrency = 20 } }; -1 for each of the six reserves nothing."
  }
}

variable "canary" {
  description = "How CodeDeploy moves the aliases to a new version, as the name of a deployment configuration, such as CodeDeployDefault.LambdaCanary10Percent5Minutes: alarms move them back. Null: Terraform moves them itself, at once. The first deployment needs null, since there is nothing to move from. Each apply is followed by python -m tools.canary (docs/deploy.md)."
  type        = string
  default     = null
  validation {
    condition     = var.canary == null || can(regex("^[A-Za-z0-9_.-]+$", var.canary))
    error_message = "canary must be the name of a deployment configuration of CodeDeploy for Lambda, such as CodeDeployDefault.LambdaCanary10Percent5Minutes."
  }
}

variable "pinned_versions" {
  description = "For a rollback: the version that a function's alias points to instead of the newest, by function name."
  type        = map(string)
  default     = {}
  nullable    = false
  validation {
    condition = alltrue([
      for name, version in var.pinned_versions :
      contains(["api", "authorizer", "bridge", "sync", "reconcile"], name) && can(regex("^[0-9]+$", version))
    ])
    error_message = "pinned_versions: keys are api, authorizer, bridge, sync, reconcile; values are version numbers."
  }
}

variable "log_level" {
  description = "Lowest level that is logged: DEBUG or INFO."
  type        = string
  default     = "INFO"
  nullable    = false
  validation {
    condition     = contains(["DEBUG", "INFO"], var.log_level)
    error_message = "log_level must be DEBUG or INFO: metrics are log lines without a level, which Lambda would filter out above that."
  }
}

variable "system_log_level" {
  description = "Lowest level of what Lambda itself logs about each run: DEBUG, INFO or WARN. At WARN only runs that fail are logged; INFO adds about 700 bytes per run, more than the catalog's own lines."
  type        = string
  default     = "WARN"
  nullable    = false
  validation {
    condition     = contains(["DEBUG", "INFO", "WARN"], var.system_log_level)
    error_message = "system_log_level must be DEBUG, INFO or WARN."
  }
}

variable "xray" {
  description = "What X-Ray records of the requests to the API: so many per second, and this share of the others. With mode PassThrough the functions record those requests only; with Active they also record runs of their own, one per second and 5 % of the others, which no rule can change."
  type = object({
    per_second = optional(number, 0)
    share      = optional(number, 0.01)
    mode       = optional(string, "PassThrough")
  })
  default  = {}
  nullable = false
  validation {
    condition     = var.xray.per_second >= 0 && floor(var.xray.per_second) == var.xray.per_second && var.xray.share >= 0 && var.xray.share <= 1
    error_message = "xray: per_second must be a whole number of at least 0, share must be 0 to 1."
  }
  validation {
    condition     = contains(["PassThrough", "Active"], var.xray.mode)
    error_message = "xray.mode must be PassThrough or Active."
  }
}

variable "log_retention_days" {
  description = "Number of days that logs are kept."
  type        = number
  default     = 365
  nullable    = false
  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731], var.log_retention_days)
    error_message = "log_retention_days must be one of the numbers that CloudWatch knows, such as 30 or 365."
  }
}

variable "kms_key_arn" {
  description = "ARN of your own KMS key for the secret, the queues, the logs and the functions' environment variables; null for keys that AWS manages. The key policy must allow CloudWatch Logs and this account to use it."
  type        = string
  default     = null
  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:[^:]+:kms:", var.kms_key_arn))
    error_message = "kms_key_arn must be the ARN of a KMS key."
  }
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
  default     = "/"
  nullable    = false
  validation {
    condition     = can(regex("^/([A-Za-z0-9._-]+/)*$", var.iam_path))
    error_message = "iam_path must begin and end with a slash."
  }
}

variable "permissions_boundary" {
  description = "ARN of the policy that bounds what the roles may do; null for none."
  type        = string
  default     = null
  validation {
    condition     = var.permissions_boundary == null || can(regex("^arn:[^:]+:iam::[^:]*:policy/", var.permissions_boundary))
    error_message = "permissions_boundary must be the ARN of an IAM policy."
  }
}

# ---- what it talks to ----

variable "mode" {
  description = "What the catalog does: normal, or restore, in which it accepts no writes and delivers nothing. Null for normal."
  type        = string
  default     = null
  validation {
    condition     = var.mode == null || try(contains(["normal", "restore"], var.mode), false)
    error_message = "mode must be normal or restore."
  }
}

variable "nats_url" {
  description = "URL of the NATS servers, such as tls://connect.ngs.global."
  type        = string
  validation {
    condition     = can(regex("^(nats|tls)://", var.nats_url))
    error_message = "nats_url must begin with nats:// or tls://."
  }
}

variable "nats_stream_max_bytes" {
  description = "Maximum size in bytes of the stream PRODUCTS; the migration raises a smaller one (docs/nats.md). Some NATS services require one. A full stream refuses events, which then wait in the outboxes. Null for no limit."
  type        = number
  default     = null
  validation {
    condition     = var.nats_stream_max_bytes == null || try(var.nats_stream_max_bytes >= 1000000, false)
    error_message = "nats_stream_max_bytes must be null or at least 1000000."
  }
}

variable "nats_prefix" {
  description = "Prefix of the names of stream, consumer and subjects, so that several deployments can share one NATS account; null for none."
  type        = string
  default     = null
  validation {
    condition     = var.nats_prefix == null || can(regex("^[A-Za-z0-9_-]{1,32}$", var.nats_prefix))
    error_message = "nats_prefix must be 1 to 32 letters, digits, hyphens and underscores."
  }
}

variable "nats_stream_replicas" {
  description = "On how many servers of a NATS cluster the stream is kept: 1, 3 or 5. The migration raises a smaller number (docs/nats.md). Null for the default of the functions, 1."
  type        = number
  default     = null
  validation {
    condition     = var.nats_stream_replicas == null || try(contains([1, 3, 5], var.nats_stream_replicas), false)
    error_message = "nats_stream_replicas must be 1, 3 or 5."
  }
}

variable "nats_consumer_start" {
  description = "Where a consumer that is made anew begins in the stream, as NATS_CONSUMER_START; null for the default of the functions."
  type        = string
  default     = null
}

variable "supply_chain_url" {
  description = "Base URL of the supply chain API."
  type        = string
  validation {
    condition     = can(regex("^https?://", var.supply_chain_url))
    error_message = "supply_chain_url must be an http(s) URL."
  }
}

variable "supply_chain_timeout_seconds" {
  description = "Timeout in seconds of one call to the supply chain as a whole."
  type        = number
  default     = 10
  nullable    = false
  validation {
    condition     = var.supply_chain_timeout_seconds > 0 && var.supply_chain_timeout_seconds <= 120
    error_message = "supply_chain_timeout_seconds must be more than 0 and at most 120."
  }
}

variable "mongodb_database" {
  description = "Name of the MongoDB database."
  type        = string
  default     = "catalog"
  nullable    = false
}

variable "mongodb" {
  description = "Connections to MongoDB: of each container at most, how many seconds an idle one is kept, and how many a node accepts (Atlas: M0 500, M10 1500, M20 and M30 3000; null: not checked). Null for the defaults of the functions."
  type = object({
    max_pool_size    = optional(number)
    max_idle_seconds = optional(number)
    max_connections  = optional(number, 1500)
  })
  default  = {}
  nullable = false
  validation {
    condition     = try(var.mongodb.max_pool_size >= 1 && floor(var.mongodb.max_pool_size) == var.mongodb.max_pool_size, var.mongodb.max_pool_size == null)
    error_message = "mongodb.max_pool_size must be a whole number of at least 1."
  }
  validation {
    condition     = try(var.mongodb.max_idle_seconds >= 1, var.mongodb.max_idle_seconds == null)
    error_message = "mongodb.max_idle_seconds must be at least 1."
  }
  validation {
    # The pool of a container, whose default is that of MONGODB_MAX_POOL_SIZE, and two more that watch each node.
    condition     = var.mongodb.max_connections == null || try(local.store_containers * (coalesce(var.mongodb.max_pool_size, 10) + 2) <= var.mongodb.max_connections, false)
    error_message = "Up to ${local.store_containers} containers use MongoDB, each with up to ${coalesce(var.mongodb.max_pool_size, 10) + 2} connections to a node (mongodb.max_pool_size, and 2 that watch it): more than mongodb.max_connections. Reserve less concurrency, lower the pool, or take a larger tier. A function without a reservation counts as all that the account leaves."
  }
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
  validation {
    condition     = var.jwks_url == null || (var.jwt_issuer != null && var.jwt_audience != null)
    error_message = "jwks_url needs jwt_issuer and jwt_audience: the keys of an identity provider sign the tokens of all its customers' applications."
  }
}

variable "jwt_audience" {
  description = "Value that the claim aud of a token must have or contain; required with jwks_url."
  type        = string
  default     = null
}

# ---- delivery ----

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
  default  = {}
  nullable = false
  validation {
    condition     = var.sync.max_in_flight >= 1 && var.sync.max_in_flight <= 120000 && floor(var.sync.max_in_flight) == var.sync.max_in_flight
    error_message = "sync.max_in_flight must be 1 to 120000, the limit of SQS."
  }
  validation {
    condition     = var.sync.maximum_concurrency >= 2 && var.sync.maximum_concurrency <= 1000
    error_message = "sync.maximum_concurrency must be 2 to 1000, the limits of SQS."
  }
  validation {
    condition     = var.sync.bulk_maximum_concurrency >= 2 && var.sync.bulk_maximum_concurrency <= 1000
    error_message = "sync.bulk_maximum_concurrency must be 2 to 1000, the limits of SQS."
  }
  validation {
    condition     = var.sync.batch_size >= 1 && var.sync.batch_size <= 10000 && (var.sync.batch_size <= 10 || var.sync.batch_window_seconds >= 1)
    error_message = "sync.batch_size must be 1 to 10000, and above 10 needs a batch_window_seconds of 1 or more."
  }
  validation {
    condition     = var.sync.max_attempts >= 1 && var.sync.max_attempts <= 100
    error_message = "sync.max_attempts must be 1 to 100."
  }
  validation {
    condition     = var.sync.horizon_seconds > 0 && var.sync.horizon_seconds < 14 * 24 * 3600
    error_message = "sync.horizon_seconds must be above 0 and below 14 days: SQS keeps no message longer."
  }
  # chalicelib/settings.py refuses this too, but only when the functions start, after the apply.
  validation {
    condition     = var.sync.max_attempts == 1 || (var.sync.max_attempts - 1) * var.sync.max_wait_seconds >= var.sync.horizon_seconds
    error_message = "sync: max_attempts - 1 waits of at most max_wait_seconds cannot span horizon_seconds."
  }
  validation {
    condition     = var.sync.max_wait_seconds > 0 && var.sync.max_wait_seconds <= 42300
    error_message = "sync.max_wait_seconds must be above 0 and at most 42300: 15 minutes less than the longest visibility timeout of SQS, 12 hours."
  }
  validation {
    condition     = var.sync.concurrency >= 1 && var.sync.concurrency <= 100
    error_message = "sync.concurrency must be 1 to 100."
  }
  validation {
    condition     = var.sync.reconcile_grace_seconds > 0 && var.sync.reconcile_grace_seconds <= 14 * 24 * 3600
    error_message = "sync.reconcile_grace_seconds must be above 0 and at most 14 days."
  }
  validation {
    condition     = var.sync.visibility_seconds <= 43200
    error_message = "sync.visibility_seconds must be 43200 at most, the limit of SQS."
  }
  validation {
    # The settings treat an empty value as unset and use the default.
    condition     = length(var.sync.reject_statuses) > 0 && alltrue([for status in var.sync.reject_statuses : status >= 300 && status <= 599])
    error_message = "sync.reject_statuses must hold at least one status, each of 300 to 599."
  }
}

variable "supply_chain_max_rate" {
  description = "Limit of calls per second to the supply chain, over all functions; null for none. Each second with calls costs a few writes of one document in MongoDB."
  type        = number
  default     = null
  validation {
    condition     = var.supply_chain_max_rate == null || try(var.supply_chain_max_rate >= 0.01 && var.supply_chain_max_rate <= 100000, false)
    error_message = "supply_chain_max_rate must be null or 0.01 to 100000."
  }
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
  default  = {}
  nullable = false
  validation {
    condition     = var.breaker.failures >= 1 && var.breaker.products >= 2 && var.breaker.products <= 1000 && var.breaker.successes >= 1 && var.breaker.successes <= 100
    error_message = "breaker: failures must be at least 1, products 2 to 1000, successes 1 to 100."
  }
  validation {
    condition     = alltrue([for n in [var.breaker.failures, var.breaker.products, var.breaker.successes] : floor(n) == n])
    error_message = "breaker: failures, products and successes must be whole numbers."
  }
  validation {
    condition     = var.breaker.share > 0 && var.breaker.share <= 1
    error_message = "breaker.share must be above 0 and at most 1."
  }
  validation {
    condition     = alltrue([for n in [var.breaker.window_seconds, var.breaker.probe_seconds, var.breaker.ramp_step_seconds] : n >= 1 && n <= 600])
    error_message = "breaker: window_seconds, probe_seconds and ramp_step_seconds must be 1 to 600."
  }
  validation {
    condition     = var.breaker.ramp_rate >= 0.01 && var.breaker.ramp_rate <= 100000
    error_message = "breaker.ramp_rate must be 0.01 to 100000."
  }
}

variable "audit" {
  description = "How the catalog is compared with what the supply chain holds (docs/audit.md). What is left out has its default."
  type = object({
    sample   = optional(number, 20) # products that each run of reconcile compares; 0 for none
    max_rate = optional(number, 10) # questions per second of a full audit
    repair   = optional(bool, true) # what differs is delivered again
  })
  default  = {}
  nullable = false
  validation {
    condition     = var.audit.sample >= 0 && var.audit.sample <= 1000 && floor(var.audit.sample) == var.audit.sample
    error_message = "audit.sample must be a whole number of 0 to 1000."
  }
  validation {
    condition     = var.audit.max_rate >= 0.01 && var.audit.max_rate <= 100000
    error_message = "audit.max_rate must be 0.01 to 100000."
  }
}

variable "republish_max_rate" {
  description = "Events per second of a republish of the whole catalog, unless its request says otherwise. Null for the default of the functions."
  type        = number
  default     = null
  validation {
    condition     = var.republish_max_rate == null || try(var.republish_max_rate >= 0.01 && var.republish_max_rate <= 100000, false)
    error_message = "republish_max_rate must be 0.01 to 100000."
  }
}

# ---- the API ----

variable "throttle" {
  description = "Throttle of API Gateway over all callers: requests per second, and burst."
  type        = object({ rate = number, burst = number })
  default     = { rate = 100, burst = 200 }
  nullable    = false
  validation {
    condition     = var.throttle.rate > 0 && var.throttle.burst > 0
    error_message = "throttle: rate and burst must be above 0."
  }
}

variable "ready_throttle" {
  description = "Throttle of GET /ready over all callers, which needs no token and asks MongoDB, NATS and SQS: requests per second, and burst."
  type        = object({ rate = number, burst = number })
  default     = { rate = 5, burst = 10 }
  nullable    = false
  validation {
    condition     = var.ready_throttle.rate > 0 && var.ready_throttle.burst > 0
    error_message = "ready_throttle: rate and burst must be above 0."
  }
}

variable "api_keys_required" {
  description = "Whether requests that need a token also need an API key of the usage plan, in the header X-Api-Key. Each key is counted and throttled separately."
  type        = bool
  default     = false
  nullable    = false
}

variable "cors_origin" {
  description = "Origin whose web pages may call the API (CORS), or * for any; null for none."
  type        = string
  default     = null
  validation {
    condition     = var.cors_origin == null || can(regex("^(\\*|https?://[^/' ]+)$", var.cors_origin))
    error_message = "cors_origin must be * or an origin such as https://shop.example."
  }
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
  default     = true
  nullable    = false
}

# ---- operations ----

variable "page_topic_arn" {
  description = "ARN of the SNS topic for alarms that must wake somebody, and for their end; null if they notify nobody."
  type        = string
  default     = null
  validation {
    condition     = var.page_topic_arn == null || can(regex("^arn:[^:]+:sns:", var.page_topic_arn))
    error_message = "page_topic_arn must be the ARN of an SNS topic."
  }
}

variable "ticket_topic_arn" {
  description = "ARN of the SNS topic for alarms that can wait for the next working day; null if they notify nobody."
  type        = string
  default     = null
  validation {
    condition     = var.ticket_topic_arn == null || can(regex("^arn:[^:]+:sns:", var.ticket_topic_arn))
    error_message = "ticket_topic_arn must be the ARN of an SNS topic."
  }
}

variable "alarm_emails" {
  description = "Addresses for which the module makes the SNS topics itself, instead of page_topic_arn and ticket_topic_arn. Each address must confirm its subscription. With kms_key_arn, the key's policy must allow CloudWatch to use it."
  type = object({
    page   = optional(set(string), [])
    ticket = optional(set(string), [])
  })
  default  = {}
  nullable = false
  validation {
    condition     = alltrue([for address in setunion(var.alarm_emails.page, var.alarm_emails.ticket) : can(regex("^[^@ ]+@[^@ ]+$", address))])
    error_message = "alarm_emails must hold e-mail addresses."
  }
  validation {
    condition     = (length(var.alarm_emails.page) == 0 || var.page_topic_arn == null) && (length(var.alarm_emails.ticket) == 0 || var.ticket_topic_arn == null)
    error_message = "alarm_emails and the ARN of a topic exclude each other, for page and for ticket."
  }
}

variable "alarms" {
  description = "Other thresholds, and other numbers of periods (mostly minutes) until an alarm is raised, than those of alarms.yaml, by the alarm's name: { undelivered = { threshold = 7200 }, sync-paused = { periods = 120 } }."
  type        = map(object({ threshold = optional(number), periods = optional(number) }))
  default     = {}
  nullable    = false
  validation {
    condition     = length(setsubtract(keys(var.alarms), keys(local.defined_alarms))) == 0
    error_message = "alarms: there are alarms of these names only: ${join(", ", keys(local.defined_alarms))}."
  }
  validation {
    # The alarm of a cause is also evaluated over an hour more, and CloudWatch evaluates no more than a day.
    condition     = alltrue([for alarm in values(var.alarms) : alarm.periods == null || try(alarm.periods >= 1 && alarm.periods <= 1380 && floor(alarm.periods) == alarm.periods, false)])
    error_message = "alarms: periods must be a whole number of 1 to 1380."
  }
}

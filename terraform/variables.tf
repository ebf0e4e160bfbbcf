# ---- where ----

variable "region" {
  description = "AWS region."
  type        = string
  default     = "eu-central-1"
  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region must be the name of an AWS region, such as eu-central-1."
  }
}

variable "endpoint" {
  description = "Address of an emulator (MiniStack, LocalStack) that stands for all of AWS; null for AWS itself."
  type        = string
  default     = null
  validation {
    condition     = var.endpoint == null || can(regex("^https?://[^/]+$", var.endpoint))
    error_message = "endpoint must be http(s)://host[:port], without a path."
  }
}

variable "environment" {
  description = "Name of this deployment, for tags, for its metrics, and for the dashboard."
  type        = string
  default     = "production"
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,20}$", var.environment))
    error_message = "environment must be 2 to 21 lower case letters, digits and hyphens."
  }
}

variable "name_suffix" {
  description = "Added to every name, so that several deployments fit into one account; such as -staging."
  type        = string
  default     = ""
  validation {
    condition     = var.name_suffix == "" || can(regex("^-[a-z0-9-]{1,20}$", var.name_suffix))
    error_message = "name_suffix must be empty, or a hyphen and lower case letters, digits and hyphens."
  }
}

variable "tags" {
  description = "Further tags on everything."
  type        = map(string)
  default     = {}
}

# ---- what runs ----

variable "artifacts" {
  description = "Folder of what `make package` has made, relative to this module."
  type        = string
  default     = "../dist"
}

variable "architecture" {
  description = "Processor of the Lambdas; the artifacts must have been packaged for it."
  type        = string
  default     = "arm64"
  validation {
    condition     = contains(["arm64", "x86_64"], var.architecture)
    error_message = "architecture must be arm64 or x86_64."
  }
}

variable "functions" {
  description = "Memory in MB, time-out in seconds and reserved concurrency (-1: none) by function. What is left out has its default."
  type = object({
    api        = optional(object({ memory = optional(number, 1024), timeout = optional(number, 20), concurrency = optional(number, -1) }), {})
    authorizer = optional(object({ memory = optional(number, 512), timeout = optional(number, 10), concurrency = optional(number, -1) }), {})
    bridge     = optional(object({ memory = optional(number, 512), timeout = optional(number, 60), concurrency = optional(number, -1) }), {})
    sync       = optional(object({ memory = optional(number, 1024), timeout = optional(number, 60), concurrency = optional(number, -1) }), {})
    reconcile  = optional(object({ memory = optional(number, 512), timeout = optional(number, 60), concurrency = optional(number, -1) }), {})
  })
  default = {}
  validation {
    condition     = alltrue([for f in values(var.functions) : f.memory >= 256 && f.memory <= 10240 && f.timeout >= 1 && f.timeout <= 900 && f.concurrency >= -1])
    error_message = "functions: memory must be 256 to 10240, timeout 1 to 900, concurrency at least -1."
  }
  validation {
    condition     = var.functions.api.timeout <= 29
    error_message = "functions.api.timeout must be 29 at most: API Gateway waits no longer."
  }
  validation {
    # functions/bridge.py keeps 8 s for what it has in hand; the next run comes after a minute.
    condition     = var.functions.bridge.timeout >= 15 && var.functions.bridge.timeout <= 60
    error_message = "functions.bridge.timeout must be 15 to 60."
  }
  validation {
    # functions/reconcile.py keeps 20 s for the page it has in hand: the rest is for relaying.
    condition     = var.functions.reconcile.timeout >= 40
    error_message = "functions.reconcile.timeout must be at least 40: 20 s of it are kept for what is in hand."
  }
}

variable "pinned_versions" {
  description = "Function name → version that its alias points to instead of the newest: a rollback."
  type        = map(string)
  default     = {}
  validation {
    condition = alltrue([
      for name, version in var.pinned_versions :
      contains(["api", "authorizer", "bridge", "sync", "reconcile"], name) && can(regex("^[0-9]+$", version))
    ])
    error_message = "pinned_versions: keys are api, authorizer, bridge, sync, reconcile; values are version numbers."
  }
}

variable "log_level" {
  description = "Least level of the log."
  type        = string
  default     = "INFO"
  validation {
    condition     = contains(["DEBUG", "INFO"], var.log_level)
    error_message = "log_level must be DEBUG or INFO: metrics are log lines without a level, which Lambda would filter out above that."
  }
}

variable "log_retention_days" {
  description = "How long logs are kept."
  type        = number
  default     = 365
  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731], var.log_retention_days)
    error_message = "log_retention_days must be one of the numbers that CloudWatch knows, such as 30 or 365."
  }
}

variable "kms_key_arn" {
  description = "Own KMS key for the secret, queues, logs and function settings; null for AWS's keys. Its policy must let CloudWatch Logs and the account use it."
  type        = string
  default     = null
  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:[^:]+:kms:", var.kms_key_arn))
    error_message = "kms_key_arn must be the ARN of a KMS key."
  }
}

variable "vpc" {
  description = "Subnets and security groups for the functions, for a private NATS or Atlas PrivateLink; null for none. SQS and Secrets Manager must be reachable from there."
  type = object({
    subnet_ids         = set(string)
    security_group_ids = set(string)
  })
  default = null
}

# ---- what it talks to ----

variable "nats_url" {
  description = "NATS servers, such as tls://connect.ngs.global."
  type        = string
  validation {
    condition     = can(regex("^(nats|tls)://", var.nats_url))
    error_message = "nats_url must begin with nats:// or tls://."
  }
}

variable "nats_stream_max_bytes" {
  description = "Size in bytes of the stream PRODUCTS when it is made; some NATS services refuse a stream without one. A full stream takes no events, which then wait in the outboxes. Null for no limit."
  type        = number
  default     = null
  validation {
    condition     = var.nats_stream_max_bytes == null || try(var.nats_stream_max_bytes >= 1000000, false)
    error_message = "nats_stream_max_bytes must be null or at least 1000000."
  }
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
  description = "How long one call of the supply chain may take as a whole."
  type        = number
  default     = 10
  validation {
    condition     = var.supply_chain_timeout_seconds > 0 && var.supply_chain_timeout_seconds <= 120
    error_message = "supply_chain_timeout_seconds must be more than 0 and at most 120."
  }
}

variable "mongodb_database" {
  description = "Name of the MongoDB database."
  type        = string
  default     = "catalog"
}

variable "jwks_url" {
  description = "Where the identity provider publishes its keys (RS256, ES256); null if tokens are signed with CATALOG_JWT_SECRET."
  type        = string
  default     = null
}

variable "secrets" {
  description = "The value of the secret: MONGODB_URI, and as needed NATS_CREDENTIALS, CATALOG_JWT_SECRET, SUPPLY_CHAIN_SIGNING_SECRET. Handed to AWS, kept in neither state nor plan. Null: put it there by other means."
  type        = map(string)
  default     = null
  sensitive   = true
  ephemeral   = true
  validation {
    condition = var.secrets == null ? true : contains(keys(var.secrets), "MONGODB_URI") && length(setsubtract(keys(var.secrets), [
      "MONGODB_URI", "NATS_CREDENTIALS", "CATALOG_JWT_SECRET", "SUPPLY_CHAIN_SIGNING_SECRET"
    ])) == 0
    error_message = "secrets must hold MONGODB_URI, and nothing but NATS_CREDENTIALS, CATALOG_JWT_SECRET and SUPPLY_CHAIN_SIGNING_SECRET besides."
  }
}

variable "secrets_version" {
  description = "Raise it by one to write `secrets` anew; null if Terraform does not write them."
  type        = number
  default     = null
}

# ---- delivery ----

variable "sync" {
  description = "The retry schedule and the event source mapping. What is left out has its default."
  type = object({
    max_attempts            = optional(number, 18)
    horizon_seconds         = optional(number, 259200)
    max_wait_seconds        = optional(number, 39600)
    reconcile_grace_seconds = optional(number, 300)
    concurrency             = optional(number, 10) # calls at a time within one function
    batch_size              = optional(number, 10)
    batch_window_seconds    = optional(number, 1)
    maximum_concurrency     = optional(number, 10) # functions at a time
    visibility_seconds      = optional(number, 360)
    reject_statuses         = optional(set(number), [413, 422])
  })
  default = {}
  validation {
    condition     = var.sync.maximum_concurrency >= 2 && var.sync.maximum_concurrency <= 1000
    error_message = "sync.maximum_concurrency must be 2 to 1000, the limits of SQS."
  }
  validation {
    condition     = var.sync.batch_size >= 1 && var.sync.batch_size <= 10000 && (var.sync.batch_size <= 10 || var.sync.batch_window_seconds >= 1)
    error_message = "sync.batch_size must be 1 to 10000, and above 10 needs a batch_window_seconds of 1 or more."
  }
  validation {
    condition     = var.sync.max_attempts >= 1 && var.sync.max_attempts <= 1000
    error_message = "sync.max_attempts must be 1 to 1000."
  }
  validation {
    condition     = var.sync.horizon_seconds > 0 && var.sync.horizon_seconds < 14 * 24 * 3600
    error_message = "sync.horizon_seconds must be above 0 and below 14 days: SQS keeps no message longer."
  }
  # What chalicelib/settings.py refuses too: there it would be every function, after the apply.
  validation {
    condition     = var.sync.max_attempts == 1 || (var.sync.max_attempts - 1) * var.sync.max_wait_seconds >= var.sync.horizon_seconds
    error_message = "sync: max_attempts - 1 waits of at most max_wait_seconds cannot span horizon_seconds."
  }
  validation {
    condition     = var.sync.max_wait_seconds > 0 && var.sync.max_wait_seconds <= 42300
    error_message = "sync.max_wait_seconds must be above 0 and at most 42300: SQS hides a message for 12 hours, of which a quarter of an hour is kept."
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
    # An empty setting would count as unset, and so mean the default.
    condition     = length(var.sync.reject_statuses) > 0 && alltrue([for status in var.sync.reject_statuses : status >= 300 && status <= 599])
    error_message = "sync.reject_statuses must hold at least one status, each of 300 to 599."
  }
}

# ---- the API ----

variable "throttle" {
  description = "Requests per second and burst that API Gateway lets through, over all callers."
  type        = object({ rate = number, burst = number })
  default     = { rate = 100, burst = 200 }
  validation {
    condition     = var.throttle.rate > 0 && var.throttle.burst > 0
    error_message = "throttle: rate and burst must be above 0."
  }
}

variable "api_keys_required" {
  description = "Whether whoever needs a token needs an API key of the usage plan besides (X-Api-Key), to be counted and throttled alone."
  type        = bool
  default     = false
}

variable "cors_origin" {
  description = "Origin whose pages may call the API, or *; null for none."
  type        = string
  default     = null
  validation {
    condition     = var.cors_origin == null || can(regex("^(\\*|https?://[^/' ]+)$", var.cors_origin))
    error_message = "cors_origin must be * or an origin such as https://shop.example."
  }
}

variable "domain" {
  description = "Custom domain of the API and the ARN of its certificate in this region; null for none. The DNS record is yours to make, from the outputs."
  type        = object({ name = string, certificate_arn = string })
  default     = null
}

variable "web_acl_arn" {
  description = "AWS WAF web ACL to put before the API; null for none."
  type        = string
  default     = null
}

variable "manage_account_logging" {
  description = "Whether to set the role by which API Gateway writes logs. It is one per region and account: false if somebody else sets it."
  type        = bool
  default     = true
}

# ---- operations ----

variable "alarm_topic_arn" {
  description = "SNS topic that alarms go to; null: they only change colour."
  type        = string
  default     = null
}

variable "undelivered_alarm_seconds" {
  description = "Age of the oldest undelivered change from which on it is an alarm."
  type        = number
  default     = 14400
}

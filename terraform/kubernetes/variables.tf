variable "cluster_name" {
  description = "Name of the EKS cluster."
  type        = string
}

variable "namespace" {
  description = "Namespace of the pods."
  type        = string
  default     = "product-catalog"
}

variable "name_suffix" {
  description = "Appended to every name, such as -staging, so that several deployments fit into one account."
  type        = string
  default     = ""
  validation {
    condition     = var.name_suffix == "" || can(regex("^-[a-z0-9-]{1,20}$", var.name_suffix))
    error_message = "name_suffix must be empty, or a hyphen and lower case letters, digits and hyphens."
  }
}

variable "oidc_provider_arn" {
  description = "ARN of the cluster's OIDC provider, for roles by web identity (IRSA); null for EKS Pod Identity, which needs the add-on eks-pod-identity-agent, and nodes that are not Fargate."
  type        = string
  default     = null
  validation {
    condition     = var.oidc_provider_arn == null || can(regex("^arn:[^:]+:iam::[0-9]{12}:oidc-provider/.+", var.oidc_provider_arn))
    error_message = "oidc_provider_arn must be the ARN of an OIDC provider in IAM."
  }
}

variable "existing_queues" {
  description = "ARNs of queues that are there already, such as those of the functions on Lambda; null to make them."
  type        = object({ single = string, bulk = string, dead_letters = string })
  default     = null
}

variable "visibility_seconds" {
  description = "Visibility timeout of the queues."
  type        = number
  default     = 360
  validation {
    condition     = var.visibility_seconds >= 60 && var.visibility_seconds <= 43200
    error_message = "visibility_seconds must be 60, longer than a worker takes for a batch, to 43200, the limit of SQS."
  }
}

variable "max_attempts" {
  description = "SYNC_MAX_ATTEMPTS of the pods: a message may be received ten times as often, 200 times at least."
  type        = number
  default     = 18
  validation {
    condition     = var.max_attempts >= 1 && var.max_attempts <= 100
    error_message = "max_attempts must be 1 to 100."
  }
}

variable "kms_key_arn" {
  description = "ARN of your own KMS key for the queues and the secret; null for keys that AWS manages."
  type        = string
  default     = null
  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:[^:]+:kms:", var.kms_key_arn))
    error_message = "kms_key_arn must be the ARN of a KMS key."
  }
}

variable "secret_arn" {
  description = "ARN of the secret in Secrets Manager that holds what secrets.example.yaml lists; null if the Secret is made by hand."
  type        = string
  default     = null
  validation {
    condition     = var.secret_arn == null || can(regex("^arn:[^:]+:secretsmanager:", var.secret_arn))
    error_message = "secret_arn must be the ARN of a secret in Secrets Manager."
  }
}

variable "secret_reader" {
  description = "Who reads that secret: external-secrets (the operator, which makes the Secret of the pods), pods (by CATALOG_SECRET_ID), or none."
  type        = string
  default     = "none"
  validation {
    condition     = contains(["none", "external-secrets", "pods"], var.secret_reader)
    error_message = "secret_reader must be none, external-secrets or pods."
  }
  validation {
    condition     = var.secret_reader == "none" || var.secret_arn != null
    error_message = "secret_reader needs secret_arn."
  }
}

variable "keda_role_name" {
  description = "Name of the IAM role that KEDA's operator has already, in a cluster where others use KEDA too: it gets a policy; null to make a role for keda/keda-operator."
  type        = string
  default     = null
}

variable "external_secrets_role_name" {
  description = "The same for the External Secrets Operator; null to make a role for external-secrets/external-secrets."
  type        = string
  default     = null
}

variable "role_path" {
  description = "Path of the IAM roles."
  type        = string
  default     = "/"
  validation {
    condition     = can(regex("^/(.+/)?$", var.role_path))
    error_message = "role_path must begin and end with a slash."
  }
}

variable "permissions_boundary" {
  description = "ARN of the permissions boundary of the IAM roles; null for none."
  type        = string
  default     = null
}

variable "requests_per_address" {
  description = "Requests of one address to the API within five minutes, above which AWS WAF answers 429; null for no web ACL."
  type        = number
  default     = 30000
  validation {
    condition     = var.requests_per_address == null || try(var.requests_per_address >= 10 && var.requests_per_address <= 2000000000, false)
    error_message = "requests_per_address must be 10 to 2000000000, the limits of AWS WAF."
  }
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

variable "name" {
  description = "Name of the function; its role has this name and common.role.suffix, its log group is /aws/lambda/NAME."
  type        = string
}

variable "description" {
  description = "What the function is for."
  type        = string
}

variable "handler" {
  description = "Python module and attribute that Lambda calls, such as functions.sync.handler."
  type        = string
}

variable "zip" {
  description = "Path of the zip file with the code."
  type        = string
}

variable "size" {
  description = "Memory in MB, timeout in seconds, and reserved concurrency (-1: none)."
  type        = object({ memory = number, timeout = number, concurrency = number })
}

variable "permissions" {
  description = "Permissions besides logging and tracing: IAM actions and the ARNs they apply to, by statement id."
  type        = map(object({ actions = list(string), resources = list(string) }))
  default     = {}
}

variable "pinned_version" {
  description = "Version that the alias points to; null for the newest."
  type        = string
  default     = null
}

variable "alias_after" {
  description = "Id of what must be done before the alias moves to a newer version; null for nothing."
  type        = string
  default     = null
}

variable "common" {
  description = "What is the same for every function. With shifted, the alias stays at the version it has, and CodeDeploy moves it."
  type = object({
    release            = string
    runtime            = string
    architecture       = string
    environment        = map(string)
    log_level          = string
    system_log_level   = string
    tracing_mode       = string
    log_retention_days = number
    kms_key_arn        = optional(string)
    vpc                = optional(object({ subnet_ids = set(string), security_group_ids = set(string) }))
    role               = optional(object({ suffix = optional(string, ""), path = optional(string, "/"), permissions_boundary = optional(string) }), {})
    shifted            = optional(bool, false)
  })
}

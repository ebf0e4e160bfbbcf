variable "name" {
  description = "Name of the function, of its role and of its log."
  type        = string
}

variable "description" {
  description = "What the function is for."
  type        = string
}

variable "handler" {
  description = "Module and attribute, such as functions.sync.handler."
  type        = string
}

variable "zip" {
  description = "Path of the artifact."
  type        = string
}

variable "size" {
  description = "Memory in MB, time-out in seconds, reserved concurrency (-1: none)."
  type        = object({ memory = number, timeout = number, concurrency = number })
}

variable "permissions" {
  description = "What the function may do besides logging and tracing: actions on resources."
  type        = map(object({ actions = list(string), resources = list(string) }))
  default     = {}
}

variable "pinned_version" {
  description = "Version that the alias points to; null: the newest."
  type        = string
  default     = null
}

variable "common" {
  description = "What all functions share."
  type = object({
    architecture       = string
    environment        = map(string)
    log_level          = string
    log_retention_days = number
    kms_key_arn        = optional(string)
    vpc                = optional(object({ subnet_ids = set(string), security_group_ids = set(string) }))
  })
}

variable "schedule_group" {
  description = "Name of the group that the schedule is in."
  type        = string
}

variable "account" {
  description = "Id of the account, which alone may use the schedule's role."
  type        = string
}

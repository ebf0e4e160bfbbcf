variable "name_suffix" {
  description = "Appended to every name, such as -staging."
  type        = string
  default     = ""
}

variable "visibility_seconds" {
  description = "Visibility timeout of the queues of single and of bulk messages."
  type        = number
}

variable "max_attempts" {
  description = "SYNC_MAX_ATTEMPTS: calls for one version of a product. A message is received more often than that."
  type        = number
  default     = 18
}

variable "kms_key_arn" {
  description = "ARN of your own KMS key; null for SQS's own encryption."
  type        = string
  default     = null
}

variable "tls_only" {
  description = "Whether the queues refuse calls without TLS; false for an emulator, which has none."
  type        = bool
  default     = true
}

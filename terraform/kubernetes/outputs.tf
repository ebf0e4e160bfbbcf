output "settings" {
  description = "Lines for settings.env of the production overlay."
  value       = <<-EOT
    SYNC_QUEUE_URL=${local.queue_urls.single}
    SYNC_DLQ_URL=${local.queue_urls.dead_letters}
    SYNC_BULK_QUEUE_URL=${local.queue_urls.bulk}
    AWS_DEFAULT_REGION=${data.aws_region.current.name}
  EOT
}

output "roles" {
  description = "ARN of the IAM role of each service account, for the component irsa; EKS Pod Identity needs none of them in the manifests."
  value       = { for name, role in aws_iam_role.pod : name => role.arn }
}

output "web_acl_arn" {
  description = "ARN of the web ACL, for the annotation wafv2-acl-arn of the Ingress; null without one."
  value       = one(aws_wafv2_web_acl.api[*].arn)
}

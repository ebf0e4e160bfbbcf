output "api_url" {
  description = "Base URL of the API."
  value = (
    var.endpoint != null ? "${var.endpoint}/_aws/execute-api/${aws_api_gateway_rest_api.catalog.id}/${aws_api_gateway_stage.api.stage_name}" :
    var.domain != null ? "https://${var.domain.name}/api" : aws_api_gateway_stage.api.invoke_url
  )
}

output "queue_url" {
  description = "URL of the sync queue."
  value       = module.queues.urls.single
}

output "bulk_queue_url" {
  description = "URL of the queue of bulk messages."
  value       = module.queues.urls.bulk
}

output "dlq_url" {
  description = "URL of the dead-letter queue."
  value       = module.queues.dead_letters.url
}

output "secret_arn" {
  description = "ARN of the secret."
  value       = aws_secretsmanager_secret.catalog.arn
}

output "functions" {
  description = "Name, version in use, and ARN of the role of each function."
  value       = { for key, made in merge(local.functions, { migrate = module.migrate }) : key => { name = made.function_name, version = made.version, role = made.role_arn } }
}

output "dashboard" {
  description = "Name of the CloudWatch dashboard."
  value       = aws_cloudwatch_dashboard.catalog.dashboard_name
}

output "domain_target" {
  description = "Name and hosted zone that the DNS record of the custom domain must point to; null without a custom domain."
  value = var.domain == null ? null : {
    name    = aws_api_gateway_domain_name.own[0].regional_domain_name
    zone_id = aws_api_gateway_domain_name.own[0].regional_zone_id
  }
}

output "secret_name" {
  description = "Name of the secret."
  value       = aws_secretsmanager_secret.catalog.name
}

output "alarm_topics" {
  description = "ARNs of the SNS topics that alarms go to, for page and for ticket."
  value       = local.topics
}

output "canary" {
  description = "What `python -m tools.canary` moves: the application of CodeDeploy, and by deployment group the function and its newest version. Null without `canary`."
  value = var.canary == null ? null : {
    application = aws_codedeploy_app.catalog[0].name
    groups = {
      for name in keys(local.canary) : aws_codedeploy_deployment_group.function[name].deployment_group_name => {
        function = local.functions[name].function_name
        version  = local.functions[name].newest_version
      }
    }
  }
}

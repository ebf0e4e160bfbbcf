# The catalog became a module of its own. These keep what was deployed before: nothing is made anew.
# (Functions first, then the rest by the files of modules/catalog.)

moved {
  from = module.api
  to   = module.catalog.module.api
}

moved {
  from = module.authorizer
  to   = module.catalog.module.authorizer
}

moved {
  from = module.bridge
  to   = module.catalog.module.bridge
}

moved {
  from = module.sync
  to   = module.catalog.module.sync
}

moved {
  from = module.reconcile
  to   = module.catalog.module.reconcile
}

moved {
  from = module.migrate
  to   = module.catalog.module.migrate
}

moved {
  from = aws_cloudwatch_metric_alarm.catalog
  to   = module.catalog.aws_cloudwatch_metric_alarm.catalog
}

moved {
  from = aws_cloudwatch_composite_alarm.causes
  to   = module.catalog.aws_cloudwatch_composite_alarm.causes
}

moved {
  from = aws_cloudwatch_composite_alarm.catalog
  to   = module.catalog.aws_cloudwatch_composite_alarm.catalog
}

moved {
  from = aws_api_gateway_rest_api.catalog
  to   = module.catalog.aws_api_gateway_rest_api.catalog
}

moved {
  from = aws_api_gateway_resource.depth1
  to   = module.catalog.aws_api_gateway_resource.depth1
}

moved {
  from = aws_api_gateway_resource.depth2
  to   = module.catalog.aws_api_gateway_resource.depth2
}

moved {
  from = aws_api_gateway_resource.depth3
  to   = module.catalog.aws_api_gateway_resource.depth3
}

moved {
  from = aws_api_gateway_resource.depth4
  to   = module.catalog.aws_api_gateway_resource.depth4
}

moved {
  from = aws_api_gateway_authorizer.bearer
  to   = module.catalog.aws_api_gateway_authorizer.bearer
}

moved {
  from = aws_lambda_permission.authorizer
  to   = module.catalog.aws_lambda_permission.authorizer
}

moved {
  from = aws_api_gateway_method.route
  to   = module.catalog.aws_api_gateway_method.route
}

moved {
  from = aws_api_gateway_integration.route
  to   = module.catalog.aws_api_gateway_integration.route
}

moved {
  from = aws_api_gateway_method.other
  to   = module.catalog.aws_api_gateway_method.other
}

moved {
  from = aws_api_gateway_integration.other
  to   = module.catalog.aws_api_gateway_integration.other
}

moved {
  from = aws_lambda_permission.api
  to   = module.catalog.aws_lambda_permission.api
}

moved {
  from = aws_api_gateway_method.preflight
  to   = module.catalog.aws_api_gateway_method.preflight
}

moved {
  from = aws_api_gateway_integration.preflight
  to   = module.catalog.aws_api_gateway_integration.preflight
}

moved {
  from = aws_api_gateway_method_response.preflight
  to   = module.catalog.aws_api_gateway_method_response.preflight
}

moved {
  from = aws_api_gateway_integration_response.preflight
  to   = module.catalog.aws_api_gateway_integration_response.preflight
}

moved {
  from = aws_api_gateway_gateway_response.problem
  to   = module.catalog.aws_api_gateway_gateway_response.problem
}

moved {
  from = aws_api_gateway_deployment.catalog
  to   = module.catalog.aws_api_gateway_deployment.catalog
}

moved {
  from = aws_cloudwatch_log_group.access
  to   = module.catalog.aws_cloudwatch_log_group.access
}

moved {
  from = aws_cloudwatch_log_group.execution
  to   = module.catalog.aws_cloudwatch_log_group.execution
}

moved {
  from = aws_api_gateway_stage.api
  to   = module.catalog.aws_api_gateway_stage.api
}

moved {
  from = aws_api_gateway_method_settings.all
  to   = module.catalog.aws_api_gateway_method_settings.all
}

moved {
  from = aws_api_gateway_usage_plan.callers
  to   = module.catalog.aws_api_gateway_usage_plan.callers
}

moved {
  from = aws_iam_role.gateway_logging
  to   = module.catalog.aws_iam_role.gateway_logging
}

moved {
  from = aws_iam_role_policy_attachment.gateway_logging
  to   = module.catalog.aws_iam_role_policy_attachment.gateway_logging
}

moved {
  from = aws_api_gateway_account.logging
  to   = module.catalog.aws_api_gateway_account.logging
}

moved {
  from = aws_api_gateway_domain_name.own
  to   = module.catalog.aws_api_gateway_domain_name.own
}

moved {
  from = aws_api_gateway_base_path_mapping.own
  to   = module.catalog.aws_api_gateway_base_path_mapping.own
}

moved {
  from = aws_wafv2_web_acl_association.api
  to   = module.catalog.aws_wafv2_web_acl_association.api
}

moved {
  from = aws_lambda_invocation.migrate
  to   = module.catalog.aws_lambda_invocation.migrate
}

moved {
  from = aws_cloudwatch_dashboard.catalog
  to   = module.catalog.aws_cloudwatch_dashboard.catalog
}

moved {
  from = aws_xray_sampling_rule.api
  to   = module.catalog.aws_xray_sampling_rule.api
}

moved {
  from = aws_sqs_queue.sync
  to   = module.catalog.aws_sqs_queue.sync
}

moved {
  from = aws_sqs_queue.dead_letters
  to   = module.catalog.aws_sqs_queue.dead_letters
}

moved {
  from = aws_sqs_queue_policy.tls_only
  to   = module.catalog.aws_sqs_queue_policy.tls_only
}

moved {
  from = aws_secretsmanager_secret.catalog
  to   = module.catalog.aws_secretsmanager_secret.catalog
}

# The value of the secret is none of Terraform's any more; it stays as it is.
removed {
  from = aws_secretsmanager_secret_version.catalog
  lifecycle {
    destroy = false
  }
}

moved {
  from = aws_lambda_event_source_mapping.sync
  to   = module.catalog.aws_lambda_event_source_mapping.sync
}

moved {
  from = aws_cloudwatch_event_rule.every_minute
  to   = module.catalog.aws_cloudwatch_event_rule.every_minute
}

moved {
  from = aws_cloudwatch_event_target.function
  to   = module.catalog.aws_cloudwatch_event_target.function
}

moved {
  from = aws_lambda_function_event_invoke_config.no_retries
  to   = module.catalog.aws_lambda_function_event_invoke_config.no_retries
}

moved {
  from = aws_lambda_permission.rule
  to   = module.catalog.aws_lambda_permission.rule
}

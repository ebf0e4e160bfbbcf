# CodeDeploy moves the aliases to a new version in steps, and back when an alarm is raised: `canary`.
# Terraform makes the new version and migrates the store; `python -m tools.canary` starts the moves.

locals {
  canary = var.canary == null ? {} : {
    # What of a new version shows soonest. A signal has no suppressor: an outage stops a release, too.
    api        = ["api-errors-signal", "api-slow-signal"]
    authorizer = ["authorizer-failed"]
    bridge     = ["bridge-errors-signal", "bridge-stopped-signal"]
    sync       = ["sync-errors", "objective-burns-fast-signal-300", "products-stuck-flood"]
    reconcile  = ["reconcile-errors-signal"]
  }
}

data "aws_iam_policy_document" "codedeploy_assume" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["codedeploy.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "codedeploy" {
  statement {
    sid       = "MoveAliases"
    actions   = ["lambda:GetAlias", "lambda:GetProvisionedConcurrencyConfig", "lambda:UpdateAlias"]
    resources = flatten([for name in keys(local.canary) : [local.functions[name].function_arn, "${local.functions[name].function_arn}:*"]])
  }
  statement {
    sid       = "ReadAlarms"
    actions   = ["cloudwatch:DescribeAlarms"]
    resources = ["arn:${local.partition}:cloudwatch:${local.region}:${local.account}:alarm:*"]
  }
}

resource "aws_iam_role" "codedeploy" {
  count                = var.canary == null ? 0 : 1
  name                 = "${local.name}-canary-${local.region}"
  path                 = var.iam_path
  permissions_boundary = var.permissions_boundary
  description          = "Lets CodeDeploy move the functions' aliases"
  assume_role_policy   = data.aws_iam_policy_document.codedeploy_assume.json
}

resource "aws_iam_role_policy" "codedeploy" {
  count  = var.canary == null ? 0 : 1
  name   = "permissions"
  role   = aws_iam_role.codedeploy[0].id
  policy = data.aws_iam_policy_document.codedeploy.json
}

resource "aws_codedeploy_app" "catalog" {
  count            = var.canary == null ? 0 : 1
  name             = local.name
  compute_platform = "Lambda"
}

resource "aws_codedeploy_deployment_group" "function" {
  for_each = local.canary

  app_name               = aws_codedeploy_app.catalog[0].name
  deployment_group_name  = each.key
  service_role_arn       = aws_iam_role.codedeploy[0].arn
  deployment_config_name = var.canary

  deployment_style {
    deployment_option = "WITH_TRAFFIC_CONTROL"
    deployment_type   = "BLUE_GREEN"
  }

  alarm_configuration {
    enabled = true
    alarms  = [for name in each.value : aws_cloudwatch_metric_alarm.catalog[name].alarm_name]
  }

  auto_rollback_configuration {
    enabled = true
    events  = ["DEPLOYMENT_FAILURE", "DEPLOYMENT_STOP_ON_ALARM", "DEPLOYMENT_STOP_ON_REQUEST"]
  }

  depends_on = [aws_iam_role_policy.codedeploy]
}

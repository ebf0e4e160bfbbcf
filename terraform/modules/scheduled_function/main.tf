# A function that runs every minute. A run that failed is not repeated: the next one is as good.

terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

module "function" {
  source = "../function"

  name           = var.name
  description    = var.description
  handler        = var.handler
  zip            = var.zip
  size           = var.size
  permissions    = var.permissions
  pinned_version = var.pinned_version
  common         = var.common
}

# The scheduler invokes asynchronously: Lambda's own queue must not pile runs up either.
resource "aws_lambda_function_event_invoke_config" "no_retries" {
  function_name                = module.function.function_name
  qualifier                    = module.function.alias_name
  maximum_event_age_in_seconds = 60
  maximum_retry_attempts       = 0
}

data "aws_iam_policy_document" "assume" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["scheduler.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [var.account]
    }
  }
}

resource "aws_iam_role" "schedule" {
  name               = "${var.name}-schedule"
  description        = "Lets EventBridge Scheduler call ${var.name}"
  assume_role_policy = data.aws_iam_policy_document.assume.json
}

data "aws_iam_policy_document" "invoke" {
  statement {
    actions   = ["lambda:InvokeFunction"]
    resources = [module.function.alias_arn]
  }
}

resource "aws_iam_role_policy" "invoke" {
  name   = "invoke"
  role   = aws_iam_role.schedule.id
  policy = data.aws_iam_policy_document.invoke.json
}

resource "aws_scheduler_schedule" "every_minute" {
  #checkov:skip=CKV_AWS_297:The schedule holds nothing but the name of the function
  name                = var.name
  description         = var.description
  group_name          = var.schedule_group
  schedule_expression = "rate(1 minute)"

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = module.function.alias_arn
    role_arn = aws_iam_role.schedule.arn

    retry_policy {
      maximum_event_age_in_seconds = 60
      maximum_retry_attempts       = 0
    }
  }

  depends_on = [aws_iam_role_policy.invoke]
}

# A Lambda function with its own role, log group and alias.

data "aws_iam_policy_document" "assume" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["lambda.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "this" {
  name                 = "${var.name}${var.common.role.suffix}"
  path                 = var.common.role.path
  permissions_boundary = var.common.role.permissions_boundary
  description          = "Permissions of the function ${var.name}"
  assume_role_policy   = data.aws_iam_policy_document.assume.json

  # With another name, the versions in use still have the old role until their alias has moved.
  lifecycle {
    create_before_destroy = true
  }
}

data "aws_iam_policy_document" "this" {
  dynamic "statement" {
    for_each = var.permissions
    content {
      sid       = statement.key
      actions   = statement.value.actions
      resources = statement.value.resources
    }
  }

  statement {
    sid       = "Log"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${aws_cloudwatch_log_group.this.arn}:*"]
  }

  statement {
    # X-Ray does not support resource-level permissions for these actions.
    sid       = "Trace"
    actions   = ["xray:PutTraceSegments", "xray:PutTelemetryRecords"]
    resources = ["*"]
  }

  dynamic "statement" {
    for_each = var.common.kms_key_arn[*]
    content {
      sid       = "UseKey"
      actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
      resources = [statement.value]
    }
  }

  dynamic "statement" {
    for_each = var.common.vpc[*]
    content {
      # Lambda creates the network interfaces with this role, before they have an ARN.
      sid = "Network"
      actions = [
        "ec2:AssignPrivateIpAddresses",
        "ec2:CreateNetworkInterface",
        "ec2:DeleteNetworkInterface",
        "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSubnets",
        "ec2:UnassignPrivateIpAddresses",
      ]
      resources = ["*"]
    }
  }
}

resource "aws_iam_role_policy" "this" {
  name   = "permissions"
  role   = aws_iam_role.this.id
  policy = data.aws_iam_policy_document.this.json
}

resource "aws_cloudwatch_log_group" "this" {
  name              = "/aws/lambda/${var.name}"
  retention_in_days = var.common.log_retention_days
  kms_key_id        = var.common.kms_key_arn
}

resource "aws_lambda_function" "this" {
  #checkov:skip=CKV_AWS_116:API Gateway and SQS do not invoke asynchronously; a scheduled function runs again a minute later, and its errors raise an alarm
  #checkov:skip=CKV_AWS_50:A variable that the check does not follow: xray.mode, whose two values it accepts
  #checkov:skip=CKV_AWS_272:The plan shows the artifact's hash; code signing needs a pipeline that signs
  function_name = var.name
  description   = "${var.description}; release ${var.common.release}"
  role          = aws_iam_role.this.arn

  runtime          = var.common.runtime
  architectures    = [var.common.architecture]
  handler          = var.handler
  filename         = var.zip
  source_code_hash = filebase64sha256(var.zip)
  publish          = true

  memory_size                    = var.size.memory
  timeout                        = var.size.timeout
  reserved_concurrent_executions = var.size.concurrency
  kms_key_arn                    = var.common.kms_key_arn

  environment {
    variables = var.common.environment
  }

  tracing_config {
    mode = var.common.tracing_mode
  }

  logging_config {
    log_format            = "JSON"
    log_group             = aws_cloudwatch_log_group.this.name
    application_log_level = var.common.log_level
    system_log_level      = var.common.system_log_level
  }

  dynamic "vpc_config" {
    for_each = var.common.vpc[*]
    content {
      subnet_ids         = vpc_config.value.subnet_ids
      security_group_ids = vpc_config.value.security_group_ids
    }
  }

  # Without its permissions a function in a VPC cannot be created, and a first run would fail.
  depends_on = [aws_iam_role_policy.this]
}

# Every caller uses the alias, so a rollback is an alias that points to an older version.
resource "aws_lambda_alias" "live" {
  name          = "live"
  description   = "The version in use"
  function_name = aws_lambda_function.this.function_name
  # Where CodeDeploy moves it, it stays where it is. (ignore_changes cannot depend on a variable.)
  function_version = coalesce(
    var.pinned_version,
    one(data.aws_lambda_alias.live[*].function_version),
    aws_lambda_function.this.version,
  )

  depends_on = [var.alias_after]

  lifecycle {
    # The shares of a move that is under way are CodeDeploy's.
    ignore_changes = [routing_config]
  }
}

# By the function's name, so that it is read before anything changes.
data "aws_lambda_alias" "live" {
  count = var.common.shifted ? 1 : 0

  function_name = var.name
  name          = "live"
}

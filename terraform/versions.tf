terraform {
  # 1.11 brought write-only arguments, which keep the secret out of the state.
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }
}

provider "aws" {
  region = var.region

  default_tags {
    tags = merge({ Application = "product-catalog", Environment = var.environment }, var.tags)
  }

  # An emulator has no accounts to check, and one address for all services.
  skip_credentials_validation = var.endpoint != null
  skip_metadata_api_check     = var.endpoint != null
  skip_region_validation      = var.endpoint != null

  dynamic "endpoints" {
    for_each = var.endpoint[*]
    content {
      apigateway     = endpoints.value
      cloudwatch     = endpoints.value
      cloudwatchlogs = endpoints.value
      ec2            = endpoints.value
      events         = endpoints.value
      iam            = endpoints.value
      lambda         = endpoints.value
      secretsmanager = endpoints.value
      sqs            = endpoints.value
      sts            = endpoints.value
      wafv2          = endpoints.value
    }
  }
}

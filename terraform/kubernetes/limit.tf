# A web ACL for the load balancer of the Ingress, which limits nobody itself: it blocks an address that
# sends more than so many requests within five minutes.

resource "aws_wafv2_web_acl" "api" {
  #checkov:skip=CKV2_AWS_31:A log destination is an account's decision; sampled requests and metrics are on
  #checkov:skip=CKV_AWS_192:It limits rates; the API runs no Java, and reads no header into a log by a format
  count       = var.requests_per_address == null ? 0 : 1
  name        = local.name
  description = "Rate limit of the product catalog's API"
  scope       = "REGIONAL"

  default_action {
    allow {}
  }

  rule {
    name     = "rate-per-address"
    priority = 1

    action {
      block {
        custom_response {
          response_code = 429
          # As the API itself says it with 503.
          response_header {
            name  = "Retry-After"
            value = "60"
          }
        }
      }
    }

    statement {
      rate_based_statement {
        aggregate_key_type    = "IP"
        limit                 = var.requests_per_address
        evaluation_window_sec = 300
      }
    }

    visibility_config {
      cloudwatch_metrics_enabled = true
      metric_name                = "${local.name}-rate-per-address"
      sampled_requests_enabled   = true
    }
  }

  visibility_config {
    cloudwatch_metrics_enabled = true
    metric_name                = local.name
    sampled_requests_enabled   = true
  }
}

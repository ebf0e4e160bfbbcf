# A domain of your own in Route 53, with a certificate of ACM, and somebody who is told of alarms.

provider "aws" {
  region = "eu-central-1"
}

variable "zone" {
  description = "Name of the hosted zone, such as example.com; the API is at catalog.ZONE."
  type        = string
}

data "aws_route53_zone" "own" {
  name = var.zone
}

resource "aws_acm_certificate" "api" {
  domain_name       = "catalog.${var.zone}"
  validation_method = "DNS"

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_route53_record" "validation" {
  for_each = { for it in aws_acm_certificate.api.domain_validation_options : it.domain_name => it }

  zone_id = data.aws_route53_zone.own.zone_id
  name    = each.value.resource_record_name
  type    = each.value.resource_record_type
  records = [each.value.resource_record_value]
  ttl     = 300
}

resource "aws_acm_certificate_validation" "api" {
  certificate_arn         = aws_acm_certificate.api.arn
  validation_record_fqdns = [for record in aws_route53_record.validation : record.fqdn]
}

module "catalog" {
  source    = "../../modules/catalog"
  artifacts = "${path.root}/../../../dist"

  nats_url         = "tls://connect.ngs.global"
  supply_chain_url = "https://supply-chain.example"

  domain = {
    name            = "catalog.${var.zone}"
    certificate_arn = aws_acm_certificate_validation.api.certificate_arn
  }
  cors_origin = "https://shop.${var.zone}"

  alarm_emails = {
    page   = ["on-call@${var.zone}"]
    ticket = ["catalog@${var.zone}"]
  }
  alarms = {
    undelivered = { threshold = 7200 }
  }
}

resource "aws_route53_record" "api" {
  zone_id = data.aws_route53_zone.own.zone_id
  name    = "catalog.${var.zone}"
  type    = "A"

  alias {
    name                   = module.catalog.domain_target.name
    zone_id                = module.catalog.domain_target.zone_id
    evaluate_target_health = false
  }
}

output "api_url" {
  description = "Base URL of the API."
  value       = module.catalog.api_url
}

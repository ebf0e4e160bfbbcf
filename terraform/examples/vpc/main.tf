# The functions in private subnets of a VPC that exists, for Atlas PrivateLink or a private NATS. The
# subnets need a way to SQS and Secrets Manager: a NAT gateway, or interface endpoints.

provider "aws" {
  region = "eu-central-1"
}

variable "vpc_id" {
  description = "Id of the VPC."
  type        = string
}

data "aws_subnets" "private" {
  filter {
    name   = "vpc-id"
    values = [var.vpc_id]
  }
  tags = { Tier = "private" }
}

# Nobody connects to a function: it only calls.
resource "aws_security_group" "functions" {
  name        = "product-catalog"
  description = "Functions of the product catalog"
  vpc_id      = var.vpc_id
}

resource "aws_vpc_security_group_egress_rule" "functions" {
  for_each = {
    https   = { from = 443, to = 443 }
    nats    = { from = 4222, to = 4222 }
    mongodb = { from = 1024, to = 65535 } # PrivateLink gives each node of Atlas a port of its own
  }

  security_group_id = aws_security_group.functions.id
  description       = each.key
  ip_protocol       = "tcp"
  from_port         = each.value.from
  to_port           = each.value.to
  cidr_ipv4         = "0.0.0.0/0"
}

module "catalog" {
  source    = "../../modules/catalog"
  artifacts = "${path.root}/../../../dist"

  nats_url         = "tls://nats.internal.example:4222"
  supply_chain_url = "https://supply-chain.example"

  vpc = {
    subnet_ids         = toset(data.aws_subnets.private.ids)
    security_group_ids = [aws_security_group.functions.id]
  }
}

output "api_url" {
  description = "Base URL of the API."
  value       = module.catalog.api_url
}

# Everything that has no default.

provider "aws" {
  region = "eu-central-1"
}

module "catalog" {
  source    = "../../modules/catalog"
  artifacts = "${path.root}/../../../dist"

  nats_url         = "tls://connect.ngs.global"
  supply_chain_url = "https://supply-chain.example"
}

output "api_url" {
  description = "Base URL of the API."
  value       = module.catalog.api_url
}

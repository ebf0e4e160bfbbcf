# What the pods of kubernetes/overlays/production need of AWS: the queues, a role for each service
# account (roles.tf), the alarms of the queues (alarms.tf), and the rate limit of the API (limit.tf).
# Region and credentials are the provider's: AWS_REGION, AWS_PROFILE, or the configuration of whoever
# calls this module.

data "aws_caller_identity" "current" {}
data "aws_region" "current" {}
data "aws_partition" "current" {}

locals {
  name = "product-catalog${var.name_suffix}"
}

# Functions on Lambda that are to share the queues with the pods have made them already.
module "queues" {
  source = "../modules/queues"
  count  = var.existing_queues == null ? 1 : 0

  name_suffix        = var.name_suffix
  visibility_seconds = var.visibility_seconds
  max_attempts       = var.max_attempts
  kms_key_arn        = var.kms_key_arn
}

locals {
  queue_arns = var.existing_queues != null ? var.existing_queues : {
    single       = module.queues[0].arns.single
    bulk         = module.queues[0].arns.bulk
    dead_letters = module.queues[0].dead_letters.arn
  }
  queue_names = { for key, arn in local.queue_arns : key => element(split(":", arn), 5) }
  queue_urls = {
    for key, name in local.queue_names : key =>
    "https://sqs.${data.aws_region.current.name}.${data.aws_partition.current.dns_suffix}/${data.aws_caller_identity.current.account_id}/${name}"
  }
}

# One secret, a JSON object of settings (chalicelib/settings.py: SECRET_NAMES). Functions read it
# at their first request and read it again every two minutes. Its value is none of Terraform's: it is put
# once (docs/deploy.md), and no plan or apply needs it.

resource "aws_secretsmanager_secret" "catalog" {
  #checkov:skip=CKV2_AWS_57:MongoDB, NATS and the token issuer hold the other half of each secret; no Lambda of ours can rotate it there. A new value is noticed within minutes
  name                    = "${local.name}/settings"
  description             = "MONGODB_URI, NATS_CREDENTIALS, CATALOG_JWT_SECRET, SUPPLY_CHAIN_SIGNING_SECRET; the last two also with _PREVIOUS"
  kms_key_id              = var.kms_key_arn
  recovery_window_in_days = var.endpoint == null ? 7 : 0
}

# Its versions, without their content. What needs the value waits for this: the migration, and so the aliases
# and all that calls them.
data "aws_secretsmanager_secret_versions" "catalog" {
  secret_id = aws_secretsmanager_secret.catalog.id

  lifecycle {
    postcondition {
      condition     = anytrue([for version in self.versions : contains(version.version_stages, "AWSCURRENT")])
      error_message = "The secret ${aws_secretsmanager_secret.catalog.name} has no value yet, and the functions cannot run without it. Put it (docs/deploy.md, First deployment), then apply again: what is made already stays."
    }
  }
}

locals {
  # Changes with the value.
  secret_version = one([
    for version in data.aws_secretsmanager_secret_versions.catalog.versions : version.version_id
    if contains(version.version_stages, "AWSCURRENT")
  ])
}

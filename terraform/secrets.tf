# One secret, a JSON object of settings (chalicelib/settings.py: SECRET_NAMES). Functions read it
# at their first request and read it again every two minutes.

resource "aws_secretsmanager_secret" "catalog" {
  #checkov:skip=CKV2_AWS_57:MongoDB, NATS and the token issuer hold the other half of each secret; no Lambda of ours can rotate it there. A new value is noticed within minutes
  name                    = "${local.name}/settings"
  description             = "MONGODB_URI, NATS_CREDENTIALS, CATALOG_JWT_SECRET, SUPPLY_CHAIN_SIGNING_SECRET"
  kms_key_id              = var.kms_key_arn
  recovery_window_in_days = var.endpoint == null ? 7 : 0
}

resource "aws_secretsmanager_secret_version" "catalog" {
  count = var.secrets_version == null ? 0 : 1

  secret_id = aws_secretsmanager_secret.catalog.id
  # Write-only: the provider sends the value and does not keep it, so it is in neither plan nor state.
  # Without a value the provider refuses to plan; the text "null" would overwrite the secret.
  secret_string_wo         = var.secrets == null ? null : jsonencode(var.secrets)
  secret_string_wo_version = var.secrets_version
}

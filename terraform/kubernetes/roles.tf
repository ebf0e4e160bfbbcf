# One IAM role for each service account. This table is the only place of their rights.

locals {
  sync_queues  = [local.queue_arns.single, local.queue_arns.bulk]
  dead_letters = [local.queue_arns.dead_letters]

  namespaces = merge(
    { for name in ["api", "bridge", "sync", "reconcile", "migrate"] : name => var.namespace },
    { keda = "keda", external-secrets = "external-secrets" },
  )
  accounts = merge({ for name in keys(local.namespaces) : name => name }, { keda = "keda-operator" })

  # AWS authorizes a batch call by the action for one message.
  queue_rights = {
    api = {
      Enqueue = { actions = ["sqs:SendMessage", "sqs:GetQueueAttributes"], resources = local.sync_queues }
      # GET /sync/dead-letters says how many there are.
      CountLetters = { actions = ["sqs:GetQueueAttributes"], resources = local.dead_letters }
    }
    bridge = {
      Enqueue    = { actions = ["sqs:SendMessage"], resources = local.sync_queues }
      DeadLetter = { actions = ["sqs:SendMessage"], resources = local.dead_letters }
    }
    sync = {
      Consume = {
        actions   = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "sqs:GetQueueAttributes"]
        resources = local.sync_queues
      }
      DeadLetter = { actions = ["sqs:SendMessage"], resources = local.dead_letters }
    }
    reconcile = {
      Enqueue = { actions = ["sqs:SendMessage", "sqs:GetQueueAttributes"], resources = local.sync_queues }
      Letters = {
        actions   = ["sqs:SendMessage", "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "sqs:GetQueueAttributes"]
        resources = local.dead_letters
      }
    }
    # It asks how long the queues are, and reads no message.
    keda = { Length = { actions = ["sqs:GetQueueAttributes"], resources = local.sync_queues } }
  }

  # Either the pods read the secret themselves, or an operator makes a Secret of it.
  secret_readers = { none = [], external-secrets = ["external-secrets"], pods = ["api", "bridge", "sync", "reconcile", "migrate"] }
  secret_rights = {
    for name in local.secret_readers[var.secret_reader] : name =>
    { Secret = { actions = ["secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"], resources = [var.secret_arn] } }
  }

  # Who sends encrypts, who receives decrypts; KEDA does neither.
  key_rights = {
    for name in distinct(concat(["api", "bridge", "sync", "reconcile"], keys(local.secret_rights))) : name =>
    { Key = { actions = ["kms:Decrypt", "kms:GenerateDataKey"], resources = [var.kms_key_arn] } }
    if var.kms_key_arn != null
  }

  rights = {
    for name in setunion(keys(local.queue_rights), keys(local.secret_rights)) : name =>
    merge(lookup(local.queue_rights, name, {}), lookup(local.secret_rights, name, {}), lookup(local.key_rights, name, {}))
  }

  # With the region, since names of roles are of the whole account, and another region may have the same
  # deployment. A name may have 64 characters, which the longest suffix and region leave this.
  role_names = { for name in keys(local.rights) : name => name == "external-secrets" ? "secrets" : name }

  oidc_issuer = var.oidc_provider_arn == null ? null : split(":oidc-provider/", var.oidc_provider_arn)[1]

  # A role is for one service account of one cluster, whoever may make associations or accounts.
  trust = {
    for name in keys(local.rights) : name => var.oidc_provider_arn == null ? {
      Principal = { Service = "pods.eks.amazonaws.com" }
      Action    = ["sts:AssumeRole", "sts:TagSession"]
      Condition = { StringEquals = {
        "aws:SourceAccount"                         = data.aws_caller_identity.current.account_id
        "aws:RequestTag/eks-cluster-name"           = var.cluster_name
        "aws:RequestTag/kubernetes-namespace"       = local.namespaces[name]
        "aws:RequestTag/kubernetes-service-account" = local.accounts[name]
      } }
      } : {
      Principal = { Federated = var.oidc_provider_arn }
      Action    = ["sts:AssumeRoleWithWebIdentity"]
      Condition = { StringEquals = {
        "${local.oidc_issuer}:aud" = "sts.amazonaws.com"
        "${local.oidc_issuer}:sub" = "system:serviceaccount:${local.namespaces[name]}:${local.accounts[name]}"
      } }
    }
  }
}

locals {
  # An operator that others use too has a role of its own already, and EKS allows one association of an account.
  existing_roles = {
    for name, role in { keda = var.keda_role_name, external-secrets = var.external_secrets_role_name } : name => role
    if role != null && contains(keys(local.rights), name)
  }
  made = { for name, rights in local.rights : name => rights if !contains(keys(local.existing_roles), name) }
}

resource "aws_iam_role" "pod" {
  for_each             = local.made
  name                 = "${local.name}-${local.role_names[each.key]}-${data.aws_region.current.name}"
  path                 = var.role_path
  permissions_boundary = var.permissions_boundary
  description          = "Permissions of the service account ${local.namespaces[each.key]}/${local.accounts[each.key]} of the cluster ${var.cluster_name}"
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [merge({ Sid = "ServiceAccount", Effect = "Allow" }, local.trust[each.key])]
  })

  # With another name, the pods have the old role until they are told of the new one.
  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_iam_role_policy" "pod" {
  for_each = local.rights
  name     = contains(keys(local.existing_roles), each.key) ? local.name : "permissions"
  role     = try(local.existing_roles[each.key], aws_iam_role.pod[each.key].id)
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [for sid, right in each.value : {
      Sid      = sid
      Effect   = "Allow"
      Action   = right.actions
      Resource = right.resources
    }]
  })
}

# The agent of EKS Pod Identity gives the pods of these accounts the role; nothing stands in the manifests.
resource "aws_eks_pod_identity_association" "pod" {
  for_each        = var.oidc_provider_arn == null ? local.made : {}
  cluster_name    = var.cluster_name
  namespace       = local.namespaces[each.key]
  service_account = local.accounts[each.key]
  role_arn        = aws_iam_role.pod[each.key].arn
}

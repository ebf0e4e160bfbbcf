# terraform test: no account is asked, the provider is a mock.

mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_region" {
    defaults = { name = "eu-central-1" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws", dns_suffix = "amazonaws.com" }
  }
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }
  mock_resource "aws_sqs_queue" {
    defaults = { arn = "arn:aws:sqs:eu-central-1:123456789012:made" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/made" }
  }
}

variables {
  cluster_name = "shop"
}

run "queues_are_made_with_a_redrive_policy" {
  assert {
    condition     = length(module.queues) == 1
    error_message = "no queues"
  }
  assert {
    condition     = module.queues[0].names == { single = "product-sync", bulk = "product-sync-bulk" }
    error_message = "the names are those of settings.env"
  }
  assert {
    condition     = output.roles != {} && strcontains(output.settings, "AWS_DEFAULT_REGION=eu-central-1\n")
    error_message = "what the overlay needs is given out"
  }
}

run "a_message_is_received_ten_times_as_often_as_a_product_is_tried" {
  module {
    source = "../modules/queues"
  }
  variables {
    visibility_seconds = 360
    max_attempts       = 30
  }
  assert {
    condition     = alltrue([for queue in aws_sqs_queue.sync : jsondecode(queue.redrive_policy).maxReceiveCount == 300])
    error_message = "maxReceiveCount"
  }
  assert {
    condition     = alltrue([for queue in aws_sqs_queue.sync : queue.message_retention_seconds == 1209600 && queue.visibility_timeout_seconds == 360])
    error_message = "retention and visibility"
  }
  assert {
    condition     = toset(keys(aws_sqs_queue_policy.tls_only)) == toset(["single", "bulk", "dead_letters"])
    error_message = "every queue refuses calls without TLS"
  }
}

run "few_attempts_still_leave_two_hundred_receives" {
  module {
    source = "../modules/queues"
  }
  variables {
    visibility_seconds = 60
    max_attempts       = 1
    tls_only           = false
  }
  assert {
    condition     = alltrue([for queue in aws_sqs_queue.sync : jsondecode(queue.redrive_policy).maxReceiveCount == 200])
    error_message = "maxReceiveCount"
  }
  assert {
    condition     = length(aws_sqs_queue_policy.tls_only) == 0
    error_message = "an emulator has no TLS"
  }
}

run "pod_identity_trusts_one_account_of_one_cluster" {
  assert {
    condition     = jsondecode(aws_iam_role.pod["sync"].assume_role_policy).Statement[0].Principal == { Service = "pods.eks.amazonaws.com" }
    error_message = "the principal"
  }
  assert {
    condition = jsondecode(aws_iam_role.pod["keda"].assume_role_policy).Statement[0].Condition.StringEquals == {
      "aws:SourceAccount"                         = "123456789012"
      "aws:RequestTag/eks-cluster-name"           = "shop"
      "aws:RequestTag/kubernetes-namespace"       = "keda"
      "aws:RequestTag/kubernetes-service-account" = "keda-operator"
    }
    error_message = "the conditions"
  }
  assert {
    condition     = toset(keys(aws_eks_pod_identity_association.pod)) == toset(["api", "bridge", "sync", "reconcile", "keda"])
    error_message = "an association for each role, none for the migration, which needs nothing of AWS"
  }
  assert {
    condition     = aws_eks_pod_identity_association.pod["sync"].namespace == "product-catalog"
    error_message = "the namespace"
  }
}

run "a_role_names_its_region_and_its_name_is_not_too_long" {
  variables {
    name_suffix   = "-abcdefghij-abcdefghi"
    secret_arn    = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:product-catalog/settings-AbCdEf"
    secret_reader = "external-secrets"
  }
  override_data {
    target = data.aws_region.current
    values = { name = "ap-southeast-1" }
  }
  assert {
    condition     = aws_iam_role.pod["sync"].name == "product-catalog-abcdefghij-abcdefghi-sync-ap-southeast-1"
    error_message = "roles are of the whole account, and another region may have the same deployment"
  }
  assert {
    condition     = contains(keys(aws_iam_role.pod), "external-secrets") && alltrue([for role in aws_iam_role.pod : length(role.name) <= 64])
    error_message = "IAM takes 64 characters"
  }
}

run "web_identity_trusts_one_account_of_one_cluster" {
  variables {
    oidc_provider_arn = "arn:aws:iam::123456789012:oidc-provider/oidc.eks.eu-central-1.amazonaws.com/id/ABC"
  }
  assert {
    condition     = length(aws_eks_pod_identity_association.pod) == 0
    error_message = "one way at a time"
  }
  assert {
    condition = jsondecode(aws_iam_role.pod["sync"].assume_role_policy).Statement[0].Condition.StringEquals == {
      "oidc.eks.eu-central-1.amazonaws.com/id/ABC:aud" = "sts.amazonaws.com"
      "oidc.eks.eu-central-1.amazonaws.com/id/ABC:sub" = "system:serviceaccount:product-catalog:sync"
    }
    error_message = "the conditions"
  }
}

run "existing_queues_are_used_and_none_is_made" {
  variables {
    existing_queues = {
      single       = "arn:aws:sqs:eu-central-1:123456789012:product-sync"
      bulk         = "arn:aws:sqs:eu-central-1:123456789012:product-sync-bulk"
      dead_letters = "arn:aws:sqs:eu-central-1:123456789012:product-sync-dlq"
    }
  }
  assert {
    condition     = length(module.queues) == 0
    error_message = "no second set"
  }
  assert {
    condition     = strcontains(output.settings, "SYNC_DLQ_URL=https://sqs.eu-central-1.amazonaws.com/123456789012/product-sync-dlq\n")
    error_message = output.settings
  }
  assert {
    condition = { for it in jsondecode(aws_iam_role_policy.pod["reconcile"].policy).Statement : it.Sid => it.Resource } == {
      Enqueue = ["arn:aws:sqs:eu-central-1:123456789012:product-sync", "arn:aws:sqs:eu-central-1:123456789012:product-sync-bulk"]
      Letters = ["arn:aws:sqs:eu-central-1:123456789012:product-sync-dlq"]
    }
    error_message = "the resources"
  }
  assert {
    condition     = { for name, alarm in aws_cloudwatch_metric_alarm.queue : name => one(distinct([for query in alarm.metric_query : query.metric[0].dimensions.QueueName if length(query.metric) > 0])) } == { sync-not-invoked = "product-sync", bulk-not-received = "product-sync-bulk" }
    error_message = "the alarms of both queues"
  }
  assert {
    condition     = alltrue([for alarm in aws_cloudwatch_metric_alarm.queue : alltrue([for query in alarm.metric_query : query.metric[0].namespace == "AWS/SQS" if length(query.metric) > 0])])
    error_message = "there is no Lambda here"
  }
}

run "only_who_reads_the_secret_may" {
  variables {
    secret_arn    = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:product-catalog/settings-AbCdEf"
    secret_reader = "external-secrets"
    kms_key_arn   = "arn:aws:kms:eu-central-1:123456789012:key/1"
  }
  assert {
    condition     = [for name, it in aws_iam_role_policy.pod : name if strcontains(it.policy, "secretsmanager:GetSecretValue")] == ["external-secrets"]
    error_message = "the operator alone"
  }
  assert {
    condition     = [for name, it in aws_iam_role_policy.pod : name if !strcontains(it.policy, "kms:Decrypt")] == ["keda"]
    error_message = "everybody but KEDA uses the key"
  }
}

run "an_operator_with_a_role_gets_a_policy_and_no_second_association" {
  variables {
    secret_arn                 = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:product-catalog/settings-AbCdEf"
    secret_reader              = "external-secrets"
    keda_role_name             = "platform-keda"
    external_secrets_role_name = "platform-secrets"
  }
  assert {
    condition     = { for name, it in aws_iam_role_policy.pod : name => [it.role, it.name] if !contains(["api", "bridge", "reconcile", "sync"], name) } == { keda = ["platform-keda", "product-catalog"], external-secrets = ["platform-secrets", "product-catalog"] }
    error_message = "the policies"
  }
  assert {
    condition     = toset(keys(aws_eks_pod_identity_association.pod)) == toset(["api", "bridge", "reconcile", "sync"])
    error_message = "an association of an account that may have one already"
  }
  assert {
    condition     = toset(keys(output.roles)) == toset(["api", "bridge", "reconcile", "sync"])
    error_message = "roles of others"
  }
}

run "pods_may_read_the_secret_themselves" {
  variables {
    secret_arn    = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:product-catalog/settings-AbCdEf"
    secret_reader = "pods"
  }
  assert {
    condition     = [for name, it in aws_iam_role_policy.pod : name if strcontains(it.policy, "secretsmanager:GetSecretValue")] == ["api", "bridge", "migrate", "reconcile", "sync"]
    error_message = "the four roles and the migration"
  }
  assert {
    condition     = !anytrue([for it in aws_iam_role_policy.pod : strcontains(it.policy, "kms:")])
    error_message = "no key without one"
  }
}

run "the_rate_limit_can_be_left_out" {
  variables {
    requests_per_address = null
  }
  assert {
    condition     = output.web_acl_arn == null
    error_message = "no web ACL"
  }
}

run "a_reader_without_a_secret_is_refused" {
  command = plan
  variables {
    secret_reader = "pods"
  }
  expect_failures = [var.secret_reader]
}

run "values_out_of_range_are_refused" {
  command = plan
  variables {
    visibility_seconds   = 59
    max_attempts         = 0
    requests_per_address = 9
    name_suffix          = "Staging"
    role_path            = "teams"
    oidc_provider_arn    = "https://oidc.eks.eu-central-1.amazonaws.com/id/ABC"
    kms_key_arn          = "alias/catalog"
    secret_arn           = "product-catalog/settings"
  }
  expect_failures = [
    var.visibility_seconds, var.max_attempts, var.requests_per_address, var.name_suffix, var.role_path,
    var.oidc_provider_arn, var.kms_key_arn, var.secret_arn,
  ]
}

# What is planned.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  artifacts        = "tests/artifacts"
  nats_url         = "nats://nats:4222"
  supply_chain_url = "http://supply-chain"
}

# What the settings are made of.
override_resource {
  target          = module.queues.aws_sqs_queue.sync
  override_during = plan
  values          = { url = "queue" }
}

override_resource {
  target          = module.queues.aws_sqs_queue.dead_letters
  override_during = plan
  values          = { url = "letters" }
}

override_resource {
  target          = aws_secretsmanager_secret.catalog
  override_during = plan
  values          = { id = "secret", arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:x" }
}

run "what_has_no_default_is_enough" {
  command = plan

  assert {
    condition     = aws_api_gateway_rest_api.catalog.disable_execute_api_endpoint == false
    error_message = "Without a domain the default address is the only one."
  }
  assert {
    condition     = local.reserved <= 900 && local.concurrency.sync == 14
    error_message = "By default the functions leave the account most of its runs, and sync has what its queues start."
  }
  assert {
    condition     = !contains(keys(local.environment), "MONGODB_MAX_POOL_SIZE") && !contains(keys(local.environment), "CATALOG_MODE")
    error_message = "Settings that are not given are not set."
  }
  assert {
    condition     = { for path, it in aws_api_gateway_method_settings.ready : it.method_path => [it.settings[0].throttling_rate_limit, it.settings[0].throttling_burst_limit] } == { "ready/GET" = [5, 10], "ready/HEAD" = [5, 10] }
    error_message = "A stranger may ask whether the catalog is ready a few times a second, by GET or by HEAD."
  }
  assert {
    condition     = contains(keys(aws_api_gateway_method.route), "GET /ready") && aws_api_gateway_method_settings.ready["GET"].settings[0].logging_level == aws_api_gateway_method_settings.all.settings[0].logging_level
    error_message = "The path is that of a route, and its errors are logged as all others are."
  }
  assert {
    condition     = output.canary == null && length(aws_sns_topic.alarms) == 0
    error_message = "Nothing is made that was not asked for."
  }
}

run "a_new_account_that_allows_ten_runs_reserves_nothing" {
  command = plan

  variables {
    account_concurrency = 10
    functions           = { for name in ["api", "authorizer", "bridge", "sync", "reconcile", "migrate"] : name => { concurrency = -1 } }
  }

  assert {
    condition     = local.reserved == 0 && local.store_containers == 10
    error_message = "Without reservations, the account's own limit bounds the connections to MongoDB."
  }
}

run "what_is_given_is_passed_on" {
  command = plan

  variables {
    iam_path             = "/catalog/"
    permissions_boundary = "arn:aws:iam::123456789012:policy/boundary"
    mode                 = "restore"
    nats_prefix          = "staging"
    nats_stream_replicas = 3
    nats_consumer_start  = "new"
    mongodb              = { max_pool_size = 5, max_idle_seconds = 60 }
    republish_max_rate   = 50
    throttle             = { rate = 300, burst = 600 }
    ready_throttle       = { rate = 2, burst = 4 }
    jwks_url             = "https://login.example/keys"
    jwt_issuer           = "https://login.example"
    jwt_audience         = "catalog"
    alarm_emails         = { page = ["on-call@shop.example"] }
    domain               = { name = "catalog.example", certificate_arn = "arn:aws:acm:eu-central-1:123456789012:certificate/x" }
  }

  assert {
    condition = {
      for name in ["CATALOG_MODE", "NATS_PREFIX", "NATS_STREAM_REPLICAS", "NATS_CONSUMER_START", "MONGODB_MAX_POOL_SIZE", "MONGODB_MAX_IDLE_SECONDS", "REPUBLISH_MAX_RATE", "CATALOG_JWT_ISSUER", "CATALOG_JWT_AUDIENCE"] :
      name => local.environment[name]
      } == {
      CATALOG_MODE             = "restore"
      NATS_PREFIX              = "staging"
      NATS_STREAM_REPLICAS     = "3"
      NATS_CONSUMER_START      = "new"
      MONGODB_MAX_POOL_SIZE    = "5"
      MONGODB_MAX_IDLE_SECONDS = "60"
      REPUBLISH_MAX_RATE       = "50"
      CATALOG_JWT_ISSUER       = "https://login.example"
      CATALOG_JWT_AUDIENCE     = "catalog"
    }
    error_message = "The functions get the settings."
  }
  assert {
    condition = local.common.role == {
      suffix               = "-eu-central-1"
      path                 = "/catalog/"
      permissions_boundary = "arn:aws:iam::123456789012:policy/boundary"
    }
    error_message = "Roles have path, boundary and the region in their names."
  }
  assert {
    condition = {
      for it in concat([aws_api_gateway_method_settings.all], values(aws_api_gateway_method_settings.ready)) :
      it.method_path => [it.settings[0].throttling_rate_limit, it.settings[0].throttling_burst_limit]
    } == { "*/*" = [300, 600], "ready/GET" = [2, 4], "ready/HEAD" = [2, 4] }
    error_message = "The throttle of GET /ready is another than that of all other methods."
  }
  assert {
    condition     = aws_api_gateway_rest_api.catalog.disable_execute_api_endpoint
    error_message = "With a domain, the default address is closed."
  }
  assert {
    condition     = [for it in aws_sns_topic_subscription.email : it.endpoint] == ["on-call@shop.example"] && keys(aws_sns_topic.alarms) == ["page"]
    error_message = "The topic of pages is made, with its subscription."
  }
}

run "with_a_canary_the_alias_stays_where_it_is" {
  command = plan

  variables {
    canary = "CodeDeployDefault.LambdaCanary10Percent5Minutes"
  }

  assert {
    condition     = module.sync.version == "41" && module.api.version == "41"
    error_message = "The aliases stay at the version that they have."
  }
  assert {
    condition     = keys(aws_codedeploy_deployment_group.function) == ["api", "authorizer", "bridge", "reconcile", "sync"]
    error_message = "Each function that something calls has its deployment group."
  }
  assert {
    condition     = aws_codedeploy_deployment_group.function["sync"].alarm_configuration[0].alarms == toset(["product-catalog-sync-errors", "product-catalog-objective-burns-fast-signal-300", "product-catalog-products-stuck-flood"])
    error_message = "Alarms that show a bad version stop the move."
  }
}

run "a_pin_moves_the_alias_in_spite_of_the_canary" {
  command = plan

  variables {
    canary          = "CodeDeployDefault.LambdaCanary10Percent5Minutes"
    pinned_versions = { sync = "40" }
  }

  assert {
    condition     = module.sync.version == "40" && module.api.version == "41"
    error_message = "A rollback needs no CodeDeploy."
  }
}

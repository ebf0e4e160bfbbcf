# Each precondition and postcondition refuses something: values that are right by themselves, and do not
# fit each other, the artifacts, or what there is.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  artifacts        = "tests/artifacts"
  nats_url         = "nats://nats:4222"
  supply_chain_url = "http://supply-chain"
}

run "visibility_below_six_timeouts_and_artifacts_of_another_processor" {
  command = plan

  variables {
    sync         = { visibility_seconds = 300 }
    architecture = "x86_64"
  }

  expect_failures = [aws_lambda_event_source_mapping.sync["single"], aws_lambda_event_source_mapping.sync["bulk"], aws_api_gateway_rest_api.catalog]
}

run "timeout_below_the_lease_and_artifacts_of_another_python" {
  command = plan

  variables {
    supply_chain_timeout_seconds = 30
    runtime                      = "python3.12"
  }

  expect_failures = [aws_lambda_event_source_mapping.sync["single"], aws_lambda_event_source_mapping.sync["bulk"], aws_api_gateway_rest_api.catalog]
}

run "reservation_below_what_the_queues_start_and_artifacts_that_do_not_name_their_python" {
  command = plan

  variables {
    functions = { sync = { concurrency = 5 } }
    artifacts = "tests/artifacts_of_before"
  }

  expect_failures = [aws_lambda_event_source_mapping.sync["single"], aws_lambda_event_source_mapping.sync["bulk"], aws_api_gateway_rest_api.catalog]
}

run "route_that_is_too_deep" {
  command = plan

  variables {
    artifacts = "tests/artifacts_too_deep"
  }

  expect_failures = [aws_api_gateway_rest_api.catalog]
}

run "secret_without_a_value" {
  # Whether it has one is known when it is there.
  command = apply

  plan_options {
    target = [data.aws_secretsmanager_secret_versions.catalog]
  }
  override_data {
    target = data.aws_secretsmanager_secret_versions.catalog
    values = { versions = [] }
  }

  expect_failures = [data.aws_secretsmanager_secret_versions.catalog]
}

# Each validation of variables.tf refuses something. A run starts the provider anew, which takes seconds: so
# each run holds one wrong value of several variables, and all of them must be refused.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  artifacts        = "tests/artifacts"
  nats_url         = "nats://nats:4222"
  supply_chain_url = "http://supply-chain"
}

run "refused_1" {
  command = plan

  variables {
    endpoint                     = "http://localhost:4566/path"       # with a path
    name_suffix                  = "staging"                          # without a hyphen
    architecture                 = "riscv"                            # Lambda has none of these
    runtime                      = "python3.10"                       # not supported
    functions                    = { sync = { memory = 128 } }        # too little memory
    canary                       = "10 percent"                       # no name
    pinned_versions              = { api = "7", worker = "7" }        # no such function
    log_level                    = "WARNING"                          # metrics would be dropped
    system_log_level             = "ERROR"                            # Lambda has none of these
    xray                         = { share = 5 }                      # above all
    log_retention_days           = 42                                 # CloudWatch has none of these
    kms_key_arn                  = "alias/mine"                       # no ARN
    iam_path                     = "catalog"                          # without slashes
    permissions_boundary         = "arn:aws:iam::123456789012:role/x" # a role
    mode                         = "read-only"                        # no such mode
    nats_url                     = "http://nats:4222"                 # another protocol
    nats_stream_max_bytes        = 1000                               # holds nothing
    nats_prefix                  = "a.b"                              # a dot
    nats_stream_replicas         = 2                                  # an even number
    supply_chain_url             = "ftp://supply-chain"               # another protocol
    supply_chain_timeout_seconds = 121                                # takes minutes
    supply_chain_max_rate        = 0                                  # no calls
    sync                         = { max_in_flight = 120001 }         # more than SQS has
    breaker                      = { products = 1 }                   # one product
    audit                        = { sample = 0.5 }                   # half a product
    throttle                     = { rate = 0, burst = 1 }            # lets nobody in
    ready_throttle               = { rate = 5, burst = 0 }            # no probe either
    cors_origin                  = "https://shop.example/page"        # with a path
    page_topic_arn               = "pages"                            # no ARN
    ticket_topic_arn             = "tickets"                          # no ARN
    alarms                       = { sync-pause = { periods = 5 } }   # no such alarm
  }

  expect_failures = [
    var.endpoint,
    var.name_suffix,
    var.architecture,
    var.runtime,
    var.functions,
    var.canary,
    var.pinned_versions,
    var.log_level,
    var.system_log_level,
    var.xray,
    var.log_retention_days,
    var.kms_key_arn,
    var.iam_path,
    var.permissions_boundary,
    var.mode,
    var.nats_url,
    var.nats_stream_max_bytes,
    var.nats_prefix,
    var.nats_stream_replicas,
    var.supply_chain_url,
    var.supply_chain_timeout_seconds,
    var.supply_chain_max_rate,
    var.sync,
    var.breaker,
    var.audit,
    var.throttle,
    var.ready_throttle,
    var.cors_origin,
    var.page_topic_arn,
    var.ticket_topic_arn,
    var.alarms,
  ]
}

run "refused_2" {
  command = plan

  variables {
    functions    = { api = { timeout = 30 } }          # outlasts the gateway
    xray         = { mode = "On" }                     # Lambda has none of these
    sync         = { maximum_concurrency = 1 }         # one run at a time
    breaker      = { failures = 10.5 }                 # half a failure
    audit        = { max_rate = 0 }                    # no questions
    alarm_emails = { ticket = ["catalog"] }            # no host
    alarms       = { sync-paused = { periods = 0.5 } } # half a period
  }

  expect_failures = [
    var.functions,
    var.xray,
    var.sync,
    var.breaker,
    var.audit,
    var.alarm_emails,
    var.alarms,
  ]
}

run "refused_3" {
  command = plan

  variables {
    functions      = { bridge = { timeout = 74 } }       # ends before the next run
    sync           = { bulk_maximum_concurrency = 1 }    # one run at a time
    breaker        = { share = 2 }                       # above all
    alarm_emails   = { page = ["on-call@shop.example"] } # a topic is given, too
    page_topic_arn = "arn:aws:sns:eu-central-1:123456789012:pages"
  }

  expect_failures = [
    var.functions,
    var.sync,
    var.breaker,
    var.alarm_emails,
  ]
}

run "refused_4" {
  command = plan

  variables {
    functions = { bridge = { concurrency = 1 } }              # its runs cannot overlap
    sync      = { batch_size = 11, batch_window_seconds = 0 } # large, and without a window
    breaker   = { ramp_step_seconds = 0.5 }                   # below a second
  }

  expect_failures = [
    var.functions,
    var.sync,
    var.breaker,
  ]
}

run "refused_5" {
  command = plan

  variables {
    functions = { reconcile = { timeout = 39 } }          # no time for a page
    sync      = { max_attempts = 0, horizon_seconds = 1 } # no attempt
    breaker   = { ramp_rate = 0 }                         # no calls
  }

  expect_failures = [
    var.functions,
    var.sync,
    var.breaker,
  ]
}

run "refused_6" {
  command = plan

  variables {
    functions = { migrate = { timeout = 59 } }                    # no time for an index
    sync      = { horizon_seconds = 1209600, max_attempts = 100 } # beyond the retention
  }

  expect_failures = [
    var.functions,
    var.sync,
  ]
}

run "refused_7" {
  command = plan

  variables {
    sync = { max_attempts = 5 } # do not span the horizon
  }

  expect_failures = [
    var.sync,
  ]
}

run "refused_8" {
  command = plan

  variables {
    sync = { max_wait_seconds = 42301 } # beyond the visibility
  }

  expect_failures = [
    var.sync,
  ]
}

run "refused_9" {
  command = plan

  variables {
    sync = { concurrency = 101 } # too many calls at a time
  }

  expect_failures = [
    var.sync,
  ]
}

run "refused_10" {
  command = plan

  variables {
    sync = { reconcile_grace_seconds = 0 } # no grace
  }

  expect_failures = [
    var.sync,
  ]
}

run "refused_11" {
  command = plan

  variables {
    sync = { visibility_seconds = 43201 } # beyond that of SQS
  }

  expect_failures = [
    var.sync,
  ]
}

run "refused_12" {
  command = plan

  variables {
    sync = { reject_statuses = [] } # nothing
  }

  expect_failures = [
    var.sync,
  ]
}

run "refused_with_the_defaults_of_the_others" {
  command = plan

  variables {
    mongodb      = { max_pool_size = 100 } # more connections than the tier has
    jwks_url     = "https://login.example/keys"
    jwt_audience = "catalog" # without the issuer
  }

  expect_failures = [
    var.mongodb,
    var.jwt_issuer,
  ]
}

run "refused_without_a_bound" {
  command = plan

  variables {
    functions  = { api = { concurrency = -1 } } # as many connections as there are containers
    jwks_url   = "https://login.example/keys"
    jwt_issuer = "https://login.example" # without the audience
  }

  expect_failures = [
    var.mongodb,
    var.jwt_issuer,
  ]
}

run "refused_by_the_account" {
  command = plan

  variables {
    account_concurrency = 150 # AWS keeps 100
  }

  expect_failures = [
    var.account_concurrency,
  ]
}

run "refused_without_connections" {
  command = plan

  variables {
    mongodb = { max_pool_size = 0 }
  }

  expect_failures = [
    var.mongodb,
  ]
}

run "refused_without_a_rate_of_a_republish" {
  command = plan

  variables {
    republish_max_rate = 0
  }

  expect_failures = [
    var.republish_max_rate,
  ]
}

run "refused_when_connections_are_not_kept" {
  command = plan

  variables {
    mongodb = { max_idle_seconds = 0 }
  }

  expect_failures = [
    var.mongodb,
  ]
}

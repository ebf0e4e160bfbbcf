# What differs from AWS when the root module is applied to an emulator. Addresses and the
# processor come from localstack/stack.py.

region             = "us-east-1"
environment        = "emulator"
log_retention_days = 1

supply_chain_timeout_seconds = 2

# Nobody wants to wait here: what is 72 hours on AWS is ten minutes.
sync = {
  horizon_seconds  = 600
  max_wait_seconds = 60
  # Longer than the longest pause of the bridge: else reconcile enqueues what the bridge is about to.
  reconcile_grace_seconds = 75
  batch_window_seconds    = 0
  visibility_seconds      = 180
}

functions = {
  sync = { timeout = 30 }
}

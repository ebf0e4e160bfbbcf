"""AWS on one machine: the root module of `terraform/` applied to an emulator."""

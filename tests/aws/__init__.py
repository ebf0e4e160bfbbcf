"""The deployed system: one terraform apply to an emulator per run."""

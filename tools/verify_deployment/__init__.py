"""A smoke test of a deployed catalog: `make verify-deployment`."""

"""The tools, without a cloud account."""

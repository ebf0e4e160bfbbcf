"""Deterministic simulation: the real use cases on a virtual clock over in-memory servers."""

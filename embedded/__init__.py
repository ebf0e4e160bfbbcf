"""The whole system on one machine without Docker, for the demo and the tests."""

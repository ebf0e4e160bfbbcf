"""Outages of the supply chain: breaker, rate limit, pause, parking, convergence."""

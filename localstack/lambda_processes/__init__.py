"""A Lambda executor for LocalStack: each handler in a plain Python process, without Docker.

`plugin` is what LocalStack loads, `workers` keeps the processes, `runtime` is what runs in one.
"""

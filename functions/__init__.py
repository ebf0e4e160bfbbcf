"""The handlers: what AWS Lambda, and the container host, call."""

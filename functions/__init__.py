"""The handlers that AWS Lambda and the container host call."""

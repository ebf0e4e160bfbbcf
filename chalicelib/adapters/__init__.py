"""Implementations of the ports: MongoDB, NATS JetStream, SQS, HTTP, JWT."""

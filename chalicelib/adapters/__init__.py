"""How the ports are fulfilled: MongoDB, NATS JetStream, SQS, HTTP, JWT."""

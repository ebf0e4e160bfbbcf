"""The product catalog: use cases, pure decisions and the adapters around them."""

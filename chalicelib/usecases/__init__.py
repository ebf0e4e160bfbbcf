"""One module per use case, and the ports that they need."""

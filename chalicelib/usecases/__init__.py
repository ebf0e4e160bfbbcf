"""What the catalog does: one module per use case, and the ports they need."""

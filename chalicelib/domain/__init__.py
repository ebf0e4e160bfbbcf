"""What the catalog decides: pure values and functions, no input or output."""

"""Command-line tools around the catalog."""

"""The command line for operators and importers."""

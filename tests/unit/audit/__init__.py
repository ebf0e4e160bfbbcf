"""The audit: what answers mean, when they count, how a run goes on, what is repaired."""

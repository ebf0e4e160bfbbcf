"""A store that was restored to an earlier time is made whole."""

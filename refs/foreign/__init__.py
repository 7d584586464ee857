"""References that somebody else brings: a formula alone, numbers that were recorded from an implementation."""

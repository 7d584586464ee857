"""Verdicts as cards, index and machine-readable results."""

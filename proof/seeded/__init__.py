"""Seeded faults, which the harness must detect, and correct rewrites, which it must accept."""

"""Mutation testing: one small mistake at a time in the variants' own code, and whether the harness detects it."""

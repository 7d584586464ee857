"""The proof that the harness sees: what it must kill, what it must spare, by numbers."""

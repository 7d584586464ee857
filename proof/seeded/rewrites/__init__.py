"""Correct variants written another way: other order of operations, other storage, other random numbers."""

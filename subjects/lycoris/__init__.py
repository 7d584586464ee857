"""LyCORIS."""

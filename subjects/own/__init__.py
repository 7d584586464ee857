"""The variants of this repository as subjects."""

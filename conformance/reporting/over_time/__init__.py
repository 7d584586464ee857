"""Verdicts and findings of one revision beside another, and through all of them."""

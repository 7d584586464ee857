"""Recompute golden vectors with the transcriptions."""

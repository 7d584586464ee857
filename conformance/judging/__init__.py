"""Verdicts from plan, evidence and declared deviations, and the gate that compares them with the committed ones."""

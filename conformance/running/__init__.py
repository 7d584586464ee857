"""Have the planned cases run, and gather their findings as evidence."""

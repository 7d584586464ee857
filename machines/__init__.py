"""The audit on emulated machines: the rendered reports must be the same bytes on each. Imports nothing of the suite."""

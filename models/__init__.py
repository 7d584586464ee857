"""The variants on tiny real models, from attach to deployment: ``python -m models`` writes ``reports/models.md``."""

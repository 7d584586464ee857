"""Who is audited: one package per library. Each has a ``LIBRARY`` with its entries."""

"""AdapterHub's adapters."""

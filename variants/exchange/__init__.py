"""Adapters to and from the folders that peft writes. Works with files only: peft is not imported."""

from variants.exchange.exporting import export_peft
from variants.exchange.importing import import_peft

__all__ = ["export_peft", "import_peft"]

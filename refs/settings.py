"""What a layer is asked for, in words that no side owns. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Settings:
    """What a layer is asked for, in neutral words. Each side turns this into its own configuration.

    ``dtype``: of the adapter's tensors, by name; None leaves it to the side's own default. ``options`` holds what only
    some methods have (``dropout``, ``rslora``, ``init``, ``gram_schmidt``), sorted by name.
    """

    r: int = 4
    alpha: float = 4.0
    dtype: str | None = None
    options: tuple[tuple[str, Any], ...] = ()

    def option(self, name: str, default: Any) -> Any:
        """The option's value, or the default where it was not set."""
        return dict(self.options).get(name, default)

"""What a reference is: where it comes from, how to build it, and what it says the mathematics is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from torch import nn

from refs.settings import Settings
from refs.subject import Subject

Array = np.ndarray


@dataclass(frozen=True)
class Paper:
    """A paper on arXiv."""

    arxiv: str
    title: str

    @property
    def url(self) -> str:
        """Its abstract page."""
        return f"https://arxiv.org/abs/{self.arxiv}"


@dataclass(frozen=True)
class Author:
    """The authors' own code. ``commit`` is None where nobody recorded one; the card then says so."""

    repo: str
    path: str = ""
    commit: str | None = None
    sha256: str | None = None
    """Of the file at that commit, where it was recorded."""

    @property
    def url(self) -> str:
        """The file at its commit, or the repository where no commit is known."""
        return f"{self.repo}/blob/{self.commit}/{self.path}" if self.commit else self.repo


@dataclass(frozen=True)
class Live:
    """A layer of the installed, pinned ``peft``.

    ``objects`` are ``file::qualified.name`` of everything its numbers come from (the file as in the wheel), the main
    one first; the lock holds a hash of each.
    """

    id: str
    build: Callable[[nn.Linear, Settings], Subject]
    objects: tuple[str, ...]
    math: str
    package: str = "peft"


@dataclass(frozen=True)
class ClosedForm:
    """The method as one weight and one bias, computed in NumPy float64 from the tensors: the independent witness.

    ``effective(tensors, W, b, settings) -> (W', b')`` with ``W: (d_out, d_in)``, so that y' = W' x + b'.
    """

    id: str
    effective: Callable[[Mapping[str, Array], Array, Array, Settings], tuple[Array, Array]]
    math: str


@dataclass(frozen=True)
class Method:
    """One adapter method and everything that vouches for it."""

    name: str
    paper: Paper
    author: Author
    live: Live
    closed: ClosedForm

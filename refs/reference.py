"""What a reference is: where it comes from, how to build it, and what it says the mathematics is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from refs.settings import Settings
from refs.subject import Subject

Array = np.ndarray
Options = tuple[tuple[str, Any], ...]


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
    licence: str = ""
    """As their licence file says, or why it is not known."""

    @property
    def url(self) -> str:
        """The file at its commit, or the repository where no commit is known."""
        return f"{self.repo}/blob/{self.commit}/{self.path}" if self.commit else self.repo


Ranks = Callable[[nn.Module, Sequence[Tensor], Settings], dict[str, tuple[int, float]]]
"""``(model, calibration rows, settings)`` -> rank and scale of every layer that gets an adapter, by name."""


Starts = Callable[[nn.Module, Sequence[Tensor], Settings, tuple[str, ...]], dict[str, Tensor]]
"""``(model, calibration rows, settings, layers)`` -> the tensor that looks at data, by name of these layers."""


Pullback = Callable[[Mapping[str, Array], Array, Array, Settings, Array, Array], dict[str, Array]]
"""``(tensors, W, b, settings, dL/dW', dL/db')`` -> the gradient of every tensor that trains, by hand, in NumPy."""


def _everything(settings: Settings) -> bool:
    return True


@dataclass(frozen=True)
class Live:
    """A layer of the installed, pinned ``peft``, or of another package or module that can be imported.

    ``objects`` are ``file::qualified.name`` of everything its numbers come from (the file as in the wheel), the main
    one first; the lock holds a hash of each. ``options`` are set in every probe of this reference, and it is asked only
    about settings that it ``covers``. ``cannot``: where it raises an error itself: a pattern over probe ids, a piece of
    the error's text, and why. Such a case reads NOT_APPLICABLE if the subject answers there; any other error is
    UNPROVEN.
    """

    id: str
    build: Callable[[nn.Linear, Settings], Subject]
    objects: tuple[str, ...]
    math: str
    package: str = "peft"
    options: Options = ()
    covers: Callable[[Settings], bool] = _everything
    cannot: tuple[tuple[str, str, str], ...] = ()
    checks: tuple[str, ...] = ()
    """The checks that it is asked in; all of them if none is named."""
    ranks: Ranks | None = None
    """For a method that gives each layer a rank of its own."""
    starts: Starts | None = None
    """For a method whose layers may share what it finds in the data."""
    lock: Path | None = None
    """The lock file of somebody's own reference, beside the entry; None for ``refs/lock.json``."""


@dataclass(frozen=True)
class Transcribed:
    """The authors' method written anew from its mathematics, and proved on golden vectors recorded from their code.

    ``module``: its file in ``refs/``; ``golden``: the variants in ``refs/golden/manifest.json`` that it reproduces; the
    lock holds a hash of the file and of every vector.
    """

    id: str
    build: Callable[[nn.Linear, Settings], Subject]
    module: str
    golden: tuple[str, ...]
    math: str
    options: Options = ()
    covers: Callable[[Settings], bool] = _everything
    checks: tuple[str, ...] = ()
    """The checks that it is asked in; all of them if none is named."""
    ranks: Ranks | None = None
    starts: Starts | None = None
    """Both as of a live reference."""
    penalty: Callable[[Tensor], Tensor] | None = None
    """What the authors add to the loss, of the one tensor that trains."""
    residual: str = ""
    """The dtype in which the authors keep the weight that is left in the layer, where it is not the layer's own. What
    is built keeps the layer's: ``reconstruction`` asks for the difference."""


@dataclass(frozen=True)
class ClosedForm:
    """The method as one weight and one bias, computed in NumPy float64 from the tensors: the independent witness.

    ``effective(tensors, W, b, settings) -> (W', b')`` with ``W: (d_out, d_in)`` the weight in the layer (what is left
    of it, for a method that takes a part over), so that y' = W' x + b'.
    """

    id: str
    effective: Callable[[Mapping[str, Array], Array, Array, Settings], tuple[Array, Array]]
    math: str
    options: Options = ()
    covers: Callable[[Settings], bool] = _everything
    draw: Callable[[np.random.Generator, Array, Settings], Mapping[str, Array]] | None = None
    """``(generator, W, settings)`` -> initial tensors as the method says: random, constant, or from the weight.

    With ``W_res`` among them for a method that leaves a residual.
    """
    tells: Callable[[Settings], bool] = _everything
    """The settings under which ``draw`` or ``start`` knows how the tensors start."""
    pullback: Pullback | None = None
    """The gradients of the tensors that train; None where nobody worked them out."""
    start: Callable[[Array, Settings], Mapping[str, Array]] | None = None
    """``(W, settings)`` -> initial tensors that follow from calibration inputs."""
    starts: Starts | None = None
    """As of a live reference, for a method whose layers see one input."""
    frozen: tuple[str, ...] = ()
    """The tensors of ``draw`` that do not train. Asked where a method has no layer that tells."""


@dataclass(frozen=True)
class Alternative:
    """Another gradient of the same function that the authors offer and that is not the one audited: no reference.

    ``option``: theirs; ``what``: what is different; ``pullback`` as of a closed form. The card says how far both sides
    are from it, and a subject that has exactly these gradients is told so.
    """

    option: str
    what: str
    pullback: Pullback


@dataclass(frozen=True)
class Recorded:
    """Numbers that ``conformance record vectors`` took from an implementation: inputs, tensors, outputs, gradients.

    ``folder`` holds them and their manifest; there may be none yet. It is asked what was recorded, and what needs no
    other side.
    """

    id: str
    folder: Path
    math: str
    options: Options = ()
    covers: Callable[[Settings], bool] = _everything
    checks: tuple[str, ...] = (
        "references",
        "recorded",
        "promises",
        "refusals",
        "detach",
        "checkpoint",
        "coexistence",
    )


Built = Live | Transcribed
Reference = Live | Transcribed | ClosedForm | Recorded


@dataclass(frozen=True)
class Method:
    """One adapter method and everything that vouches for it. The first reference is the one a card leads with.

    ``sign_free`` maps the initial tensors (and ``W_res``) to what does not depend on the signs or the basis a
    decomposition happens to return; the start is compared in those terms. ``replaces_weight`` says that the layer's
    weight becomes a residual, which then is one more tensor to hold equal (``W_res``). A method of somebody's own may
    have neither paper nor author; no link is checked then.
    """

    name: str
    references: tuple[Reference, ...]
    paper: Paper = Paper("", "")
    author: Author = Author("")
    replaces_weight: bool = False
    alternatives: tuple[Alternative, ...] = ()
    sign_free: Callable[[Mapping[str, Tensor], Settings], dict[str, Tensor]] | None = None

    @property
    def main(self) -> Reference:
        """The reference that a card leads with: a layer, where the method has one; else a formula, where it has one."""
        return (*self.built, *([self.closed] if self.closed else []), *self.references)[0]

    @property
    def options(self) -> Options:
        """Those that its first reference sets."""
        return self.references[0].options if self.references else ()

    @property
    def published(self) -> bool:
        """Whether it says where it is from: a paper, or the authors' repository."""
        return bool(self.paper.arxiv or self.author.repo)

    @property
    def closed(self) -> ClosedForm | None:
        """The closed form, if there is one."""
        return next((r for r in self.references if isinstance(r, ClosedForm)), None)

    def witness_for(self, settings: Settings) -> Built | None:
        """The first reference that can be built under these settings."""
        return next((r for r in self.built if r.covers(settings)), None)

    @property
    def built(self) -> tuple[Built, ...]:
        """The references that are layers, as opposed to the closed form."""
        return tuple(r for r in self.references if isinstance(r, Built))

    @property
    def recorded(self) -> tuple[Recorded, ...]:
        """Those that are numbers alone."""
        return tuple(r for r in self.references if isinstance(r, Recorded))

    @property
    def transcribed(self) -> tuple[Transcribed, ...]:
        """The transcriptions among the references."""
        return tuple(r for r in self.references if isinstance(r, Transcribed))

    @property
    def objects(self) -> tuple[str, ...]:
        """Every locked object of every live reference."""
        return tuple(o for r in self.references if isinstance(r, Live) for o in r.objects)

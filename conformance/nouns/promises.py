"""What an implementation promises beyond its formula, as data: on the card, shown on every run, no tolerance."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Float64(StrEnum):
    """What a float64 layer gets."""

    EXACT = "computes in float64 on a float64 layer"
    ROUNDED = "computes in float32 inside, on a float64 layer, too"
    REFUSED = "does not support float64"


class Stored(StrEnum):
    """The dtype of the adapter's tensors, where none is asked for."""

    AS_REFERENCE = "its tensors have the reference's dtype"
    AS_LAYER = "its tensors have the layer's dtype"
    FLOAT32 = "its tensors are float32"


class Again(StrEnum):
    """What a second merge does."""

    REFUSED = "a second merge raises an error and changes nothing"
    IGNORED = "a second merge changes nothing"
    UNSTATED = "nothing is promised of a second merge"


@dataclass(frozen=True)
class Promises:
    """The defaults promise everything that this repository's variants do. Every other value must show on every run.

    ``mixes_dtypes``: takes adapter tensors in another dtype than the layer's. ``stored``: the dtype of its tensors.
    ``float64``: what a float64 layer gets. ``input_ranks``: the numbers of dimensions of x that it takes, () for any.
    ``freezes``: it marks the base as frozen; otherwise only that no gradient reaches it. ``scales``: it has an alpha;
    otherwise alpha = r is asked. ``offers``: the options that it has, None for any; a reference that sets another one
    is not asked. ``merging``: what a second merge does; ``merges_exactly``: a merged weight is rounded to the layer's
    dtype once, and unmerging gives the old bits back; otherwise float64 and float32 are asked, with their limits.
    ``checks_base``: a load onto another base fails. ``bookkeeping``: buffers (patterns over paths in the host) that are
    no tensors of the formula. ``offset``: a tensor is stored less a constant, so what acts on stored numbers by their
    size (weight decay, rounding between two steps in half precision) acts otherwise, and is not asked in training.
    ``as_reference``: no more is asked of its lifecycle than the live reference itself gives; what is stricter than the
    reference, or differs in float64 only, is listed and is not BUGGY.
    """

    mixes_dtypes: bool = True
    stored: Stored = Stored.AS_REFERENCE
    float64: Float64 = Float64.EXACT
    input_ranks: tuple[int, ...] = ()
    freezes: bool = True
    scales: bool = True
    offers: tuple[str, ...] | None = None
    merging: Again = Again.REFUSED
    merges_exactly: bool = True
    checks_base: bool = True
    bookkeeping: tuple[str, ...] = ()
    as_reference: bool = False
    offset: bool = False

    def has(self, options: Iterable[tuple[str, object]]) -> bool:
        """Whether it offers all of these options."""
        return self.offers is None or {name for name, _ in options} <= set(self.offers)

    @property
    def limits(self) -> tuple[tuple[str, str], ...]:
        """``(label, words)`` of each limit that a run must show."""
        made = []
        if not self.mixes_dtypes:
            made.append(("one-dtype", "does not mix dtypes: its tensors have the layer's dtype, or it raises"))
        if self.stored is not Stored.AS_REFERENCE:
            made.append(("stored", str(self.stored)))
        if self.float64 is not Float64.EXACT:
            made.append(("float64", str(self.float64)))
        if self.input_ranks:
            ranks = ", ".join(f"{n}-d" for n in self.input_ranks)
            made.append(("input-ranks", f"supports {ranks} input only"))
        if not self.freezes:
            made.append(("not-frozen", "leaves the base marked as trainable; no gradient may reach it"))
        made += [(f"buffer-{path}", f"`{path}` is bookkeeping: it trains nothing") for path in self.bookkeeping]
        return tuple(made)

    @property
    def unasked(self) -> tuple[str, ...]:
        """What is not asked for that reason, in words."""
        made = []
        if not self.scales:
            made.append("has no alpha, so only alpha = r is tested")
        if self.offers is not None:
            made.append(f"offers no options but {', '.join(self.offers) or 'none'}: others are not tested")
        if self.merging is not Again.REFUSED:
            made.append(str(self.merging))
        if not self.merges_exactly:
            made.append("a merged weight is compared in float64 and float32, not bit by bit")
        if not self.checks_base:
            made.append("a load onto another base is not refused")
        if self.offset:
            made.append("stores a tensor less a constant: training with weight decay, or in bfloat16, is not asked")
        if self.as_reference:
            made.append("save, load, merge and use need not do more than the live reference does")
            made.append("versions of transformers and bitsandbytes are not compared with the lock")
        return tuple(made)

    @property
    def strict(self) -> bool:
        """Whether everything is promised."""
        return self == Promises()


FOREIGN = Promises(
    mixes_dtypes=True,
    merging=Again.UNSTATED,
    merges_exactly=False,
    checks_base=False,
    as_reference=True,
)
"""What is asked of code whose entry says nothing."""

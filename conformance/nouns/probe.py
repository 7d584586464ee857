"""A probe: one test configuration."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, replace
from typing import Any, Self

from refs.settings import Settings

SHORT_DTYPES = {"float64": "f64", "float32": "f32", "bfloat16": "bf16", "float16": "f16"}


@dataclass(frozen=True)
class Probe:
    """One test configuration: base layer, input, state of the adapter. Its ``id`` is made from its fields.

    ``dtype`` is that of the base layer and the input; ``adapter`` that of the adapter's tensors, None for the side's
    own default. ``state``: ``t0`` or ``perturbed``. ``special`` names a corner case of the base or the input.
    """

    state: str = "perturbed"
    dtype: str = "float64"
    adapter: str | None = "float64"
    d_in: int = 12
    d_out: int = 20
    r: int = 4
    alpha: float = 6.0
    bias: bool = True
    batch: tuple[int, ...] = (5,)
    training: bool = False
    options: tuple[tuple[str, Any], ...] = ()
    special: str = ""
    seed: int = 1
    point: tuple[tuple[str, Any], ...] = ()
    """What only the check ``space`` varies: see ``conformance.space.points``."""
    label: str = ""
    """The id to use instead, for a check that needs no numbers."""

    @property
    def id(self) -> str:
        """Unique among the probes of a check; readable, and fit for a command line."""
        if self.label:
            return self.label
        adapter = "default" if self.adapter is None else SHORT_DTYPES[self.adapter]
        parts = [
            self.state,
            SHORT_DTYPES[self.dtype] + ("" if self.adapter == self.dtype else f"+{adapter}"),
            f"in{self.d_in}",
            f"out{self.d_out}",
            f"r{self.r}",
            f"alpha{self.alpha:g}",
            "bias" if self.bias else "nobias",
            f"batch{'x'.join(map(str, self.batch))}" if self.batch else "nobatch",
            *(["train"] if self.training else []),
            *(name if value is True else f"{name}={value}" for name, value in self.options),
            *([self.special] if self.special else []),
            *(name if value is True else f"{name}={value}" for name, value in self.point),
        ]
        return "-".join(parts)

    def under(self, **options: Any) -> Self:
        """The probe with these options, too; one that it has already takes the new value."""
        return replace(self, options=tuple(sorted({**dict(self.options), **options}.items())))

    def plain(self) -> dict[str, Any]:
        """As plain data for JSON; ``of`` reads it."""
        return dataclasses.asdict(self)

    @classmethod
    def of(cls, data: dict[str, Any]) -> Self:
        """Inverse of ``plain``, also after JSON made lists of the tuples. TypeError for what is no probe."""
        pairs = {name: tuple((key, value) for key, value in data[name]) for name in ("options", "point")}
        return cls(**{**data, **pairs, "batch": tuple(data["batch"])})

    @property
    def settings(self) -> Settings:
        """What both sides are asked to build."""
        return Settings(r=self.r, alpha=self.alpha, dtype=self.adapter, options=self.options)

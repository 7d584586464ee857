"""A start on a layer of half precision: as near to what the same numbers give in float32 as the reference's is."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from conformance.measuring.compare import Comparison, no_less_exact
from conformance.measuring.conditioning import farthest, moved_starts
from conformance.measuring.trial import Trial
from refs.subject import Subject

Start = Callable[[Trial, Subject], Mapping[str, Tensor]]


class Truth:
    """The reference's start on the layer's numbers in float32, and how far it moves with their last digits there."""

    def __init__(self, trial: Trial, start: Start) -> None:
        self.exact = start(trial, trial.reference_subject(trial.layer("float32")))
        self.moved = moved_starts(trial, lambda subject: start(trial, subject))

    def compare(self, name: str, got: Tensor, want: Tensor) -> Comparison:
        """A tensor that is not drawn. What is rounded to the layer's dtype on one side only has no limit of its own."""
        exact, nudged = self._beside(name, got)
        return no_less_exact(got, want, exact, f"{name} at t=0", nudged=nudged)

    def alone(self, name: str, got: Tensor) -> Comparison:
        """The same within the error of one rounding to the dtype that it is stored in, whatever the reference's is."""
        exact, nudged = self._beside(name, got)
        return alone(name, got, exact, nudged)

    def _beside(self, name: str, got: Tensor) -> tuple[Tensor, Tensor]:
        nudged = farthest(self.exact[name], (moved[name] for moved in self.moved))
        return self.exact[name].double().expand_as(got), nudged.double().expand_as(got)


def alone(name: str, got: Tensor, exact: Tensor, nudged: Tensor | None = None) -> Comparison:
    """A tensor within the error of one rounding of the exact one to the dtype that it is stored in."""
    return no_less_exact(got, exact.to(got.dtype), exact, f"{name} at t=0, rounded once", nudged=nudged)


def rounded_once(trial: Trial, name: str, got: Tensor, exact: Tensor) -> Comparison:
    """A tensor that is not drawn beside the closed form's, which may be rounded to the layer's dtype once."""
    once = exact.to(getattr(torch, trial.probe.dtype))
    once = once.to(exact.dtype if trial.probe.adapter is None else getattr(torch, trial.probe.adapter))
    return no_less_exact(got, once.to(got.dtype), exact.double(), f"{name} at t=0")

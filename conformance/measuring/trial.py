"""One case made concrete: the probe's numbers, and both sides built on copies of the same base layer."""

from __future__ import annotations

import os
import sysconfig
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from conformance.measuring.compare import without_addresses
from conformance.nouns.entry import ROOT, Entry, line_at
from conformance.nouns.finding import Case
from conformance.nouns.probe import Probe
from refs.reference import Built, Reference
from refs.subject import Subject

DROPOUT_SEED = 97
NO_DROPOUT = 1e-12
"""Up to here a probability drops nothing in any audit: such a probe takes the way of dropout, and is no chance."""
ALMOST = 1e-3
"""What the special ``cancelling`` leaves of a row of the weight: its square is lost in that of the rest."""
HEAVY = 1024
"""How many times larger its weight is, so that what is left of the row is not small by itself."""
RESIDUAL = "W_res"
"""Name of the weight that stays in the layer, among the values of a method that takes a part of it over."""


class SubjectFailed(Exception):
    """The audited side raised where it should have answered."""


@dataclass
class Run:
    """What one forward and backward pass gave: output, gradient of the input, gradients by tensor name."""

    y: Tensor
    grad_x: Tensor | None
    grads: dict[str, Tensor | None] = field(default_factory=dict)


@dataclass
class Trial:
    """A subject and a reference under one probe. All numbers come from NumPy generators with fixed seeds."""

    entry: Entry
    reference: Reference
    probe: Probe
    check: str

    @property
    def case(self) -> str:
        """The case's id."""
        return Case(self.entry.name, self.reference.id, self.check, self.probe.id).id

    @property
    def drops(self) -> bool:
        """Whether dropout is on to any effect, and so the outputs are random."""
        return self.probe.training and self.probe.settings.option("dropout", 0.0) > NO_DROPOUT

    def layer(self, dtype: str | None = None) -> nn.Linear:
        """A fresh copy of the base layer. Another ``dtype`` holds the same numbers, as rounded to the probe's own."""
        p = self.probe
        layer = nn.Linear(p.d_in, p.d_out, bias=p.bias, dtype=_dtype(p.dtype))
        with torch.no_grad():
            layer.weight.copy_(self._base["W"])
            if layer.bias is not None:
                layer.bias.copy_(self._base["b"])
        return layer if dtype in (None, p.dtype) else layer.to(_dtype(dtype))

    @cached_property
    def _base(self) -> dict[str, Tensor]:
        p = self.probe
        rng = np.random.default_rng([p.seed, 0])
        W = rng.standard_normal((p.d_out, p.d_in)) / p.d_in**0.5
        if p.special == "zero-row":
            W[1] = 0
        if p.special == "cancelling":
            W *= HEAVY
        return {"W": torch.from_numpy(W), "b": torch.from_numpy(0.5 * rng.standard_normal(p.d_out))}

    @cached_property
    def x(self) -> Tensor:
        """The input in the probe's dtype. ``strided``: the same numbers, not contiguous in memory."""
        p = self.probe
        rng = np.random.default_rng([p.seed, 1])
        x = torch.from_numpy(rng.standard_normal((*p.batch, p.d_in))).to(_dtype(p.dtype))
        if p.special == "large-input":
            x = 1e4 * x
        if p.special == "strided":
            x = x.transpose(0, -1).contiguous().transpose(0, -1)
            assert not x.is_contiguous()
        return x

    @cached_property
    def cotangent(self) -> Tensor:
        """A random direction in the output: gradients are those of sum(y * cotangent)."""
        p = self.probe
        rng = np.random.default_rng([p.seed, 2])
        return torch.from_numpy(rng.standard_normal((*p.batch, p.d_out))).to(_dtype(p.dtype))

    def subject(
        self, layer: nn.Linear | None = None, *, seed: int = 0, values: Mapping[str, Tensor] | None = None
    ) -> Subject:
        """The audited side, freshly built under torch's seed ``seed``, with ``values`` loaded if they are given."""
        with asking_the_subject():
            subject = self._build(self.entry.build, layer, seed)
            subject.bookkeeping = self.entry.promises.bookkeeping
            if values is not None:
                self.load(subject, values)
            return subject

    def reference_subject(
        self, layer: nn.Linear | None = None, *, seed: int = 0, values: Mapping[str, Tensor] | None = None
    ) -> Subject:
        """The reference, built in the same way."""
        if not isinstance(self.reference, Built):
            raise TypeError(
                f"the check {self.check} runs the variant beside another layer in this configuration, and "
                f"{self.reference.id} is no layer. Give the method a reference that is one: Live or Transcribed "
                "(docs/adding.md, A reference)."
            )
        reference = self._build(self.reference.build, layer, seed)
        if values is not None:
            self.load(reference, values)
        return reference

    def load(self, subject: Subject, values: Mapping[str, Tensor]) -> None:
        """Load tensors, and with them the weight that the method left in the layer."""
        subject.load({name: value for name, value in values.items() if name != RESIDUAL})
        if RESIDUAL in values:
            with torch.no_grad():
                subject.weight.copy_(values[RESIDUAL])

    def _build(self, build, layer: nn.Linear | None, seed: int) -> Subject:  # type: ignore[no-untyped-def]
        _seed(1000 * self.probe.seed + seed)
        subject: Subject = build(self.layer() if layer is None else layer, self.probe.settings)
        subject.train(self.probe.training)
        return subject

    def state(self, source: Subject) -> dict[str, Tensor]:
        """The values of the probe's state, made from the source's initial ones, in float64.

        ``perturbed`` moves every trainable tensor by half its own size (at least 0.1) in a random direction;
        ``zero-direction`` then makes the first row of each matrix zero, ``cancelling`` has B A take almost all of the
        first row of the weight away. Tensors without a formula name cannot be loaded, and are left out.
        """
        values = {name: slot.value.double() for name, slot in source.slots().items() if name in source.names}
        if self.entry.method is not None and self.entry.method.replaces_weight:
            values[RESIDUAL] = source.base.weight.detach().double().clone()
        if self.probe.state == "t0":
            return values
        trainable = {name for name, slot in source.slots().items() if slot.trainable}
        values = {name: self.moved(name, v, 0.5) if name in trainable else v for name, v in values.items()}
        if self.probe.special == "cancelling":
            values["A"][0], values["B"][0] = source.base.weight.detach()[0].double(), 0.0
            values["B"][0, 0] = -(1 - ALMOST) * self.probe.r / self.probe.alpha
        if self.probe.special == "zero-direction":
            for name in trainable & values.keys():
                if values[name].dim() == 2:
                    values[name][0] = 0
        return values

    def moved(self, name: str, value: Tensor, by: float) -> Tensor:
        """``value`` plus a random direction of ``by`` times its root mean square (at least 0.2 of a unit)."""
        rng = np.random.default_rng([self.probe.seed, 3, *name.encode()])
        size = max(value.square().mean().sqrt().item(), 0.2)
        return value + by * size * torch.from_numpy(rng.standard_normal(tuple(value.shape)))


@contextmanager
def asking_the_subject() -> Iterator[None]:
    """What is raised inside is the subject's fault, not the harness's and not the reference's."""
    try:
        yield
    except SubjectFailed:  # asked within a question: said once
        raise
    except Exception as error:
        raise SubjectFailed(in_words(error)) from error


def in_words(error: Exception) -> str:
    """An error on one line, without the addresses in memory that differ from run to run."""
    return " ".join(without_addresses(f"{type(error).__name__}: {error}").split())


def frame_of(error: BaseException | None) -> str:
    """`` (file:line in function)`` of the last frame that is neither torch's nor the harness's; or nothing."""
    place, function = raised_at(error)
    return f" ({place} in {function})" if place else ""


def raised_at(error: BaseException | None) -> tuple[str, str]:
    """``file:line`` and the function's name of that frame; empty if there is none."""
    frames = traceback.extract_tb(error.__traceback__) if error is not None else []
    for frame in reversed(frames):
        file = Path(frame.filename).resolve()
        if file.suffix == ".py" and _is_foreign(file):
            return line_at(file, frame.lineno or 0), frame.name
    return "", ""


def _is_foreign(file: Path) -> bool:
    if "site-packages" in file.parts:
        return f"site-packages{os.sep}torch{os.sep}" not in str(file)
    of_the_harness = any(file.is_relative_to(ROOT / name) for name in ("conformance", "refs"))
    return not of_the_harness and not file.is_relative_to(sysconfig.get_path("stdlib"))


def run(subject: Subject, x: Tensor, cotangent: Tensor, *, backward: bool = True, seed: int = DROPOUT_SEED) -> Run:
    """One forward and backward pass; dropout draws from a fixed seed."""
    for leaf in subject.leaves().values():
        leaf.grad = None
    x = x.detach().requires_grad_(backward)
    _seed(seed)
    y = subject(x)
    if backward:
        if y.requires_grad:
            torch.autograd.backward(y, cotangent.reshape(y.shape).to(y.dtype))
        return Run(y.detach(), x.grad, {name: slot.grad for name, slot in subject.slots().items() if slot.trainable})
    return Run(y.detach(), None)


def rounded(values: Mapping[str, Tensor], subject: Subject) -> dict[str, Tensor]:
    """The values as this subject would store them, back in float64."""
    slots = subject.slots()
    stored = {name: v.to(slots[name].value.dtype).double() for name, v in values.items() if name in slots}
    return {**stored, **{name: v for name, v in values.items() if name == RESIDUAL}}


def _seed(seed: int) -> None:
    """As ``torch.manual_seed`` does on the CPU, without its record of the call stack for the other devices (3 ms)."""
    torch.default_generator.manual_seed(seed)


def _dtype(name: str) -> torch.dtype:
    dtype = getattr(torch, name)
    assert isinstance(dtype, torch.dtype)
    return dtype

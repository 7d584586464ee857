"""Foreign code for the harness to audit: a gate with a reference that needs no peft, and subjects that misbehave.

    y = (W x + b) * g        g: (d_out,)

Every misbehaviour shows in one planned case only (``ODD_CASE``), so that a test can say what must be missing.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from conformance.judging.judge import NEEDED
from conformance.nouns.entry import Entry
from conformance.nouns.finding import Case
from refs.reference import Array, Author, ClosedForm, Live, Method, Paper
from refs.settings import Settings
from refs.subject import AS_IS, Host, Subject
from subjects.own.roster import ENTRIES

ODD_CASE = "peft:gate/params/t0-f32+bf16-in12-out20-r4-alpha6-bias-batch5"
ODD = Case("sound", *ODD_CASE.split("/"))


class Gate(nn.Module):
    """The subject and the reference alike."""

    def __init__(self, base: nn.Linear, dtype: torch.dtype) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.g = nn.Parameter(torch.ones(base.out_features, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.base(x)
        return (y * self.g).to(y.dtype)


class Shifted(Gate):
    """A thousandth too much."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 1e-3


class Frozen(Gate):
    """A gate that is neither trained nor used: right as long as nobody moves it."""

    def __init__(self, base: nn.Linear, dtype: torch.dtype) -> None:
        super().__init__(base, dtype)
        self.g.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.base(x)
        return y


def gated(layer: nn.Linear, settings: Settings, kind: type[Gate] = Gate) -> Subject:
    """A gate on a layer, in float32 for a half-precision base unless a dtype is asked for."""
    default = torch.promote_types(layer.weight.dtype, torch.float32)
    dtype = default if settings.dtype is None else getattr(torch, settings.dtype)
    host = Host(kind(layer, dtype))
    return Subject(host, layer, {"g": ("layer.g", AS_IS)})


def _effective(t: Mapping[str, Array], W: Array, b: Array, settings: Settings) -> tuple[Array, Array]:
    return t["g"][:, None] * W, t["g"] * b


LIVE = Live("peft:gate", gated, ("peft/tuners/ia3/layer.py::Linear",), "y' = base(x) * g")
CLOSED = ClosedForm("closed:gate", _effective, "W' = diag(g) W, b' = g * b")
IN_SHORT = replace(LIVE, checks=NEEDED)
"""Asked only what a verdict needs: nothing of the check ``space``, whose many points hold every odd case many times."""
METHOD = Method(
    name="gate",
    paper=Paper("2205.05638", "A gate"),
    author=Author("https://github.com/r-three/t-few"),
    references=(LIVE, CLOSED),
)


def _misbehaving(name: str, deed: Callable[[], object]) -> Entry:
    def build(layer: nn.Linear, settings: Settings) -> Subject:
        odd = layer.weight.dtype == torch.float32 and settings.dtype == "bfloat16"
        if odd and layer.in_features == 12 and layer.bias is not None:
            deed()
        return gated(layer, settings)

    return Entry(name, build, Gate, replace(METHOD, references=(IN_SHORT,)), has_rank=False)


def _sleeping(layer: nn.Linear, settings: Settings) -> Subject:
    time.sleep(600)
    return gated(layer, settings)


def _exit() -> None:
    raise SystemExit(0)


SOUND = Entry("sound", gated, Gate, METHOD, has_rank=False)
SHIFTED = Entry("shifted", lambda layer, s: gated(layer, s, Shifted), Shifted, METHOD, has_rank=False)
FROZEN = Entry("frozen", lambda layer, s: gated(layer, s, Frozen), Frozen, METHOD, has_rank=False)
SEGFAULT = _misbehaving("segfault", lambda: ctypes.string_at(0))
HANGING = _misbehaving("hanging", lambda: time.sleep(600))
SKIPPING = _misbehaving("skipping", lambda: pytest.skip("not today"))
EXITING = _misbehaving("exiting", _exit)
UNREFERENCED = replace(SOUND, name="unreferenced", method=None)

MANY = (SOUND, SHIFTED, SEGFAULT, HANGING, SKIPPING, EXITING, UNREFERENCED)
ONE = (SOUND,)
REAL = tuple(entry for entry in ENTRIES if entry.name in ("lora", "dora", "ia3_ff", "eva", "antipasto_rot"))
BOTH = (SOUND, SHIFTED)
NOBODY: tuple[Entry, ...] = ()
CRASHING = (SEGFAULT, SOUND)
FEW = replace(METHOD, references=(replace(LIVE, checks=("params",)),))
"""Asked in one quick check only."""
QUICK = replace(SOUND, method=FEW)
SLEEPING = Entry("stuck", _sleeping, Gate, FEW, has_rank=False)
"""Hangs wherever it is built."""
HUNG = (replace(HANGING, method=FEW), QUICK)
STUCK = (QUICK, SLEEPING)
LEAVING = (EXITING, SOUND)
NOT_A_TUPLE = [SOUND]

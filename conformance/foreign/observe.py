"""The limits of code whose entry states none: what it is seen to take, on one small layer. The card prints each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn

from conformance.nouns.promises import FOREIGN, Float64, Promises, Stored
from refs.reference import Options
from refs.settings import Settings
from refs.subject import Subject

Build = Callable[[nn.Linear, Settings], Subject]
SHAPES: dict[int, tuple[int, ...]] = {1: (12,), 2: (5, 12), 3: (2, 3, 12), 4: (2, 1, 3, 12)}


def observed(build: Build, options: Options = ()) -> Promises:
    """Dtypes and numbers of dimensions that it takes; everything else as of code that says nothing.

    Only an error is a limit: another output is for the checks. What fails on a plain float32 layer shows no limit.
    """
    ranks = tuple(n for n, shape in SHAPES.items() if _works(build, options, shape=shape))
    if not {2, 3} & set(ranks):
        return FOREIGN
    shape = SHAPES[2 if 2 in ranks else 3]
    return replace(
        FOREIGN,
        input_ranks=() if len(ranks) == len(SHAPES) else ranks,
        mixes_dtypes=_works(build, options, adapter="bfloat16", shape=shape),
        stored=_stored(build, options),
        float64=Float64.EXACT
        if _works(build, options, dtype=torch.float64, adapter="float64", shape=shape)
        else Float64.REFUSED,
    )


def _subject(build: Build, options: Options, dtype: torch.dtype, adapter: str | None) -> Subject:
    torch.default_generator.manual_seed(0)
    return build(nn.Linear(12, 20).to(dtype), Settings(r=4, alpha=6.0, dtype=adapter, options=options))


def _works(
    build: Build,
    options: Options,
    *,
    shape: tuple[int, ...],
    dtype: torch.dtype = torch.float32,
    adapter: str | None = None,
) -> bool:
    try:
        y = _subject(build, options, dtype, adapter)(torch.ones(shape, dtype=dtype))
        torch.autograd.backward(y.sum())
    except Exception:
        return False
    return True


def _stored(build: Build, options: Options) -> Stored:
    try:
        subject = _subject(build, options, torch.bfloat16, None)
    except Exception:
        return Stored.AS_REFERENCE
    slots = subject.slots()
    found = {slots[name].value.dtype for name in subject.names if name in slots and slots[name].trainable}
    return Stored.AS_LAYER if found == {torch.bfloat16} else Stored.AS_REFERENCE

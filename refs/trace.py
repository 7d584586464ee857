"""Which functions of a package a live reference runs: when it is built, called, and called back through.

``sys.setprofile`` sees every Python call; those whose code lies in the package are kept, by file and qualified name.
"""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import torch
from torch import nn

from refs.lock import root_of
from refs.reference import Live
from refs.settings import Settings

OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"dropout": 0.3},
    {"rslora": True},
    {"init": "gaussian"},
    {"niter": 4},
    {"gram_schmidt": True},
    {"whiten": True},
    {"kind": "road_2"},
    {"kind": "road_4"},
)
"""Ways through the references' code. What a reference does not have it does not read."""
DTYPES = (torch.float32, torch.float64, torch.bfloat16)
SIZES = (12, 20)
GENERATED = ".__post_init__"


def executed(reference: Live) -> tuple[str, ...]:
    """``file::qualified.name`` of every function of its package that ran, sorted; nested ones by their outermost."""
    root = package_root(reference.package)
    codes: set[CodeType] = set()

    def note(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(str(root)):
            codes.add(frame.f_code)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _ways(reference)()  # what is imported or cached on first use is done with
        before = sys.getprofile()
        sys.setprofile(note)
        try:
            _ways(reference)()
        finally:
            sys.setprofile(before)
    return tuple(sorted({name for code in codes if (name := _named(code, root))}))


def package_root(package: str) -> Path:
    """The folder of an installed package, or the file of a module."""
    root = root_of(package)
    if root is None:
        raise LookupError(f"got no package {package}, want it installed: its references cannot be traced")
    return root


def _named(code: CodeType, root: Path) -> str:
    """A function by its file in the package and its name; empty for a module's or a class's own body."""
    outermost = code.co_qualname.partition(".<locals>")[0].removesuffix(GENERATED)  # a dataclass: its fields count
    if "<" in outermost:
        return ""
    return f"{Path(code.co_filename).relative_to(root.parent).as_posix()}::{outermost}"


def _ways(reference: Live) -> Callable[[], None]:
    def go() -> None:
        answered = 0
        for more in OPTIONS:
            options = tuple(sorted({**dict(reference.options), **more}.items()))
            for dtype in DTYPES:
                settings = Settings(r=4, alpha=6.0, options=options)
                answered += reference.covers(settings) and _both_ways(reference, settings, dtype)
        if not answered:
            raise LookupError(f"{reference.id} ran under no option and dtype, so nothing of it could be traced")
        _model(reference)

    return go


def _both_ways(reference: Live, settings: Settings, dtype: torch.dtype) -> bool:
    """Whether it answered: some refuse a dtype."""
    try:
        _run(reference, settings, dtype)
    except (TypeError, RuntimeError, ValueError):
        return False
    return True


def _run(reference: Live, settings: Settings, dtype: torch.dtype) -> None:
    layer = nn.Linear(*SIZES, dtype=dtype)
    subject = reference.build(layer, settings)
    for training in (False, True):
        subject.train(training)
        x = torch.randn(3, SIZES[0], dtype=dtype, requires_grad=True)
        y = subject(x)
        y.backward(torch.ones_like(y))  # type: ignore[no-untyped-call]


def _model(reference: Live) -> None:
    """Where several layers of a model get their ranks and starts together."""
    model = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 16))
    rows = [torch.randn(40, 16) * 0.5 ** torch.arange(16) for _ in range(3)]
    settings = Settings(r=4, alpha=6.0, options=(("rho", 2.0),))
    if reference.ranks is not None:
        reference.ranks(copy.deepcopy(model), rows, settings)
    if reference.starts is not None:
        reference.starts(copy.deepcopy(model), rows, settings, ("0", "1"))

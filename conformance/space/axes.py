"""The axes along which a use of a variant can differ, and the combinations that cannot be asked, as data.

A point of the space has one value on every axis. What no axis varies is asked nowhere: a blind spot is closed here, by
another axis or another value, and not by another probe. Config options are in ``options``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Point = dict[str, Any]
"""A value for every axis, by the axis's name."""


@dataclass(frozen=True)
class Axis:
    """One axis: its values, the first of which is the plain one.

    ``paths`` maps values to the code path that they take, for the few axes that decide paths: of those every triple is
    covered and not only every pair. A value that is not named is a path of its own. ``ends``: between which numbers the
    fuzzer may choose, for an axis that is continuous.
    """

    name: str
    values: tuple[Any, ...]
    meaning: str
    paths: dict[Any, str] | None = field(default=None, hash=False, compare=False)
    ends: tuple[float, float] | None = None
    hiding: tuple[Any, ...] = ()
    """Values that hide what the other axes do (nothing is computed, or the update is zero): a point that has one covers
    its own pairs only."""
    option: bool = False
    """An option of the method: triples are covered with one of them at most."""

    def path(self, value: Any) -> str:
        """The code path that a value takes."""
        return str((self.paths or {}).get(value, value))


@dataclass(frozen=True)
class Rule:
    """What cannot be asked: combinations of values on ``axes`` that ``forbids``, and ``why``."""

    axes: tuple[str, ...]
    forbids: Callable[..., bool]
    why: str

    def breaks(self, point: Point) -> bool:
        """Whether a point that has a value on each of the rule's axes is forbidden."""
        return self.forbids(*(point[name] for name in self.axes))


DTYPES: dict[str, tuple[str, str | None]] = {
    "f64": ("float64", "float64"),
    "f32": ("float32", None),
    "bf16": ("bfloat16", None),
    "f16": ("float16", None),
    "bf16+bf16": ("bfloat16", "bfloat16"),
    "f32+bf16": ("float32", "bfloat16"),
    "f64+f32": ("float64", "float32"),
}
"""Base and input, and the adapter's tensors (None: the side's own default)."""

EXACT = "f64"
"""The one value in which both sides are compared by the exact limit."""

GRADLESS = ("no_grad", "inference")
KINDS = ("linear", "conv1d")

AXES: tuple[Axis, ...] = (
    Axis(
        "dtype",
        tuple(DTYPES),
        "dtypes of base and adapter",
        paths={"f64": "wide", "f32": "wide", "f64+f32": "mixed", "f32+bf16": "mixed", "bf16": "half", "f16": "half"}
        | {"bf16+bf16": "half"},
    ),
    Axis("size", ((12, 20), (16, 16), (132, 192), (260, 64)), "inputs and outputs of the layer"),
    Axis("r", (4, 1, 10, 16, 20), "rank"),
    Axis("alpha", (8.0, 4.5, -3.0), "alpha", ends=(-20.0, 40.0)),
    Axis(
        "batch",
        ((5,), (), (1,), (0, 3), (2, 3, 4), (37,), (3, 50)),
        "leading dimensions of the input",
        paths={(5,): "few", (): "few", (1,): "few", (0, 3): "none", (2, 3, 4): "few", (37,): "many", (3, 50): "many"},
        hiding=((0, 3),),
    ),
    Axis(
        "memory",
        ("plain", "x_strided", "x_sliced", "cotangent_strided", "cotangent_expanded"),
        "layout of input and cotangent in memory",
        paths={"x_strided": "x", "x_sliced": "x", "cotangent_strided": "cotangent", "cotangent_expanded": "cotangent"},
    ),
    Axis(
        "mode",
        ("train", "eval", "no_grad", "inference"),
        "training mode; or eval mode: with gradients (eval), under no_grad, in inference_mode",
        paths={"no_grad": "no gradients"},
    ),
    Axis("attached", ("train", "eval"), "mode of the layer when the adapter is attached", paths={}),
    Axis("bias", (True, False), "whether the layer has a bias"),
    Axis(
        "by",
        (0.5, 0.0, 0.1, 3.0, -0.5),
        "size of the random shift of the trained tensors, as a share of their own size (0.0: initial values; negative: "
        "their sign is changed first)",
        ends=(-4.0, 4.0),
        hiding=(0.0,),
    ),
    Axis(
        "life",
        ("fresh", "called", "steps", "saved", "reloaded", "merged", "folded", "written"),
        "history of the adapter before the calls (fresh: attached; called: one call; steps: three optimiser steps; "
        "saved: save and load; reloaded: its state_dict loaded into another adapter, on another base; merged: merge "
        "and unmerge; folded: merge; written: a write through .data)",
    ),
    Axis("layer", KINDS, "layer type: nn.Linear, or transformers' Conv1D, which stores W^T"),
    Axis(
        "calls",
        ("once", "twice", "accumulated", "again", "double"),
        "calls (once: forward and backward; twice: two forwards before one backward; accumulated: gradients that add "
        "up; again: a second backward over one graph; double: the gradient of a gradient)",
    ),
    Axis("keyword", (False, True), "whether the input is passed by its keyword"),
    Axis("autocast", (False, True), "bfloat16 autocast around the calls"),
)
"""What every method has."""

DROPOUT = Axis(
    "dropout",
    (0.0, 1e-15, 0.3),
    "probability of dropout (1e-15: the code path of dropout, but nothing is dropped)",
    paths={},
    ends=(0.0, 0.8),
)
STEER = Axis("steer", (False, True), "whether the coefficient is set by steer() or by the config")


RULES: tuple[Rule, ...] = (
    Rule(
        ("mode", "memory"),
        lambda mode, memory: mode in GRADLESS and memory.startswith("cotangent"),
        "without gradients there is no cotangent",
    ),
    Rule(
        ("mode", "calls"),
        lambda mode, calls: mode in GRADLESS and calls in ("accumulated", "again", "double"),
        "without gradients there is no backward to repeat",
    ),
    Rule(
        ("dtype", "calls"),
        lambda dtype, calls: calls == "double" and dtype != EXACT,
        "second derivatives are compared in float64 only: there is no limit for their rounding error elsewhere",
    ),
    Rule(
        ("memory", "calls"),
        lambda memory, calls: calls == "double" and memory == "cotangent_expanded",
        "a cotangent of equal rows is used with first derivatives only",
    ),
    Rule(
        ("dtype", "autocast"),
        lambda dtype, autocast: autocast and dtype != "f32",
        "autocast is made for float32 models",
    ),
    Rule(
        ("dtype", "memory"),
        lambda dtype, memory: dtype != EXACT and memory == "cotangent_expanded",
        "equal rows are only one measurement of the rounding error",
    ),
    Rule(("layer", "bias"), lambda kind, bias: kind == "conv1d" and not bias, "transformers' Conv1D always has a bias"),
    Rule(
        ("layer", "memory"),
        lambda kind, memory: kind == "conv1d" and memory == "x_strided",
        "Conv1D itself raises an error for an input with these strides",
    ),
    Rule(
        ("life", "mode"),
        lambda life, mode: life == "folded" and mode not in GRADLESS,
        "while the adapter is merged, its tensors get no gradient",
    ),
    Rule(
        ("life", "dtype"),
        lambda life, dtype: life == "folded" and dtype != EXACT,
        "a merged weight is rounded to the layer's dtype; the check `merge` compares it in lower precision",
    ),
    Rule(
        ("batch", "memory"),
        lambda batch, memory: not batch and memory == "x_strided",
        "a single vector has one layout",
    ),
)
"""Of every method."""

RANKED = ("r", "alpha")
"""Axes that a method without a rank has not got."""

"""What an adapter took, what it left and why, in a few lines of text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import nn

from variants.runtime.layers.kinds import is_linear_like

MATRIX = 2
"""Parameters with fewer dimensions are norms' scales and biases: no method here is for them."""


@dataclass(frozen=True)
class Survey:
    """Numbers of a model, and the weights in it that no adapter can go on, by kind of module.

    ``total``: numbers of the model without adapters, tied ones once. ``others``: lines about weights of two dimensions
    and more that are no linear layer's, such as experts' that are stacked in one parameter.
    """

    total: int
    others: tuple[str, ...]


def survey(model: nn.Module, own: Iterable[nn.Parameter], with_adapter: Iterable[nn.Parameter] = ()) -> Survey:
    """Of ``model``, without the parameters that are adapters' ``own``; those ``with_adapter`` are no others."""
    skipped = {id(p) for p in own}
    total = sum(p.numel() for p in model.parameters() if id(p) not in skipped)
    skipped |= {id(p) for p in with_adapter}
    kinds: dict[str, list[tuple[str, int, tuple[int, ...]]]] = {}
    for name, module in model.named_modules():
        if is_linear_like(module):
            continue
        for key, p in module.named_parameters(recurse=False):
            if id(p) not in skipped and p.dim() >= MATRIX:
                path = f"{name}.{key}".lstrip(".")
                kinds.setdefault(type(module).__name__, []).append((path, p.numel(), tuple(p.shape)))
    lines = []
    for kind, found in kinds.items():
        many = any(len(shape) > MATRIX for *_, shape in found) and "Conv" not in kind
        stacked = " (stacked in one parameter: a target by Targets(parameters=...) alone)" if many else ""
        paths = grouped([path for path, *_ in found])
        lines.append(f"{kind}{stacked}: {sum(n for _, n, _ in found):,} parameters in {', '.join(paths)}")
    return Survey(total, tuple(lines))


def grouped(names: Iterable[str]) -> list[str]:
    """Names that differ in numbers alone, as one: ``layers.*.q_proj (2)``."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(re.sub(r"(?<![^.])\d+(?![^.])", "*", name), []).append(name)
    return [
        f"{pattern} ({len(found)})" if len(found) > 1 else found[0] or "the model itself"
        for pattern, found in groups.items()
    ]


def text(
    title: str,
    taken: Iterable[str],
    left: Mapping[str, str],
    notes: Mapping[str, str],
    trainable: int,
    all_numbers: Survey,
) -> str:
    """The report: one line per group of layers."""
    lines = [title, "  on: " + ", ".join(grouped(taken))]
    for label, reasons in (("left out", left), ("note", notes)):
        by_reason: dict[str, list[str]] = {}
        for name, reason in reasons.items():
            by_reason.setdefault(reason, []).append(name)
        lines += [f"  {label}: {', '.join(grouped(names))}: {reason}" for reason, names in by_reason.items()]
    lines += [f"  skipped (not linear): {line}" for line in all_numbers.others]
    share = 100 * trainable / all_numbers.total if all_numbers.total else 0.0
    lines.append(f"  trains {trainable:,} parameters; the model has {all_numbers.total:,} ({share:.2f} %)")
    return "\n".join(lines)

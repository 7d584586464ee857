"""What is altered in the copy of peft: one fragment of a line in one method of one class, found exactly once."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Corruption:
    """``replace`` maps fragments of ``file::qualified.name`` to what stands there instead; ``variant``: whose card."""

    name: str
    variant: str
    where: str
    replace: tuple[tuple[str, str], ...]


FIRST: tuple[Corruption, ...] = (
    Corruption(
        "a loop reversed",
        "hra",
        "tuners/hra/layer.py::HRALinear.get_delta_weight",
        (("indices = range(rank)\n", "indices = range(rank - 1, -1, -1)\n"),),
    ),
    Corruption(
        "a rotation the other way round", "road", "tuners/road/layer.py::_apply_road", (("(-x2, x1)", "(x2, -x1)"),)
    ),
    Corruption(
        "a strength not divided by the rank",
        "delora",
        "tuners/delora/layer.py::DeloraLinear.forward",
        ((" / self.r[adapter])", ")"),),
    ),
    Corruption(
        "a gate added",
        "ia3",
        "tuners/ia3/layer.py::Linear.forward",
        (("result * ia3_scaling", "result + ia3_scaling"),),
    ),
    Corruption(
        "a gate divided by", "ia3_ff", "tuners/ia3/layer.py::Linear.forward", (("x * ia3_scaling", "x / ia3_scaling"),)
    ),
    Corruption(
        "dropout left out", "lora", "tuners/lora/layer.py::Linear.forward", (("lora_A(dropout(x))", "lora_A(x)"),)
    ),
)
SECOND: tuple[Corruption, ...] = (
    Corruption(
        "two detaches removed",
        "dora",
        "tuners/lora/dora.py::DoraLinearLayer.forward",
        (("lora_weight=lora_weight.detach()", "lora_weight=lora_weight"), ("weight_norm.detach()", "weight_norm")),
    ),
    Corruption(
        "singular values not divided by the scale",
        "pissa",
        "tuners/lora/layer.py::LoraLayer.pissa_init",
        (("]]\n            Sr /= self.scaling[adapter_name]\n            Uhr = Uh[", "]]\n            Uhr = Uh["),),
    ),
    Corruption(
        "a narrower start",
        "lora",
        "tuners/lora/layer.py::LoraLayer.reset_lora_parameters",
        (("lora_A[adapter_name].weight, a=math.sqrt(5)", "lora_A[adapter_name].weight, a=math.sqrt(7)"),),
    ),
    Corruption(
        "the first batch not centred",
        "eva",
        "utils/incremental_pca.py::IncrementalPCA.partial_fit",
        (("X -= col_mean", "X -= 0 * col_mean"),),
    ),
    Corruption(
        "a wider start",
        "hra",
        "tuners/hra/layer.py::HRALayer.reset_hra_parameters",
        (("half_u, a=math.sqrt(5)", "half_u, a=math.sqrt(3)"),),
    ),
    Corruption(
        "a gate that starts at zero",
        "ia3",
        "tuners/ia3/layer.py::IA3Layer.reset_ia3_parameters",
        (("self.ia3_l[adapter_name], 1.0", "self.ia3_l[adapter_name], 0.0"),),
    ),
)
COPIES = (FIRST, SECOND)
"""Corruptions of one copy touch different methods, so that each card shows its own."""


def corrupt(package: Path, corruption: Corruption) -> None:
    """Alter a copy of the package in place. ValueError unless every fragment is found exactly once."""
    file, _, name = corruption.where.partition("::")
    path = package / file
    text = path.read_text(encoding="utf-8")
    start, end = _span(ast.parse(text), name.split("."))
    lines = text.splitlines(keepends=True)
    body = "".join(lines[start:end])
    for old, new in corruption.replace:
        if body.count(old) != 1:
            raise ValueError(
                f"{corruption.where}: got {old!r} {body.count(old)} times, want once. peft has changed: "
                "read it, and mend proof/corrupted/edits.py."
            )
        body = body.replace(old, new)
    path.write_text("".join([*lines[:start], body, *lines[end:]]), encoding="utf-8")


def _span(tree: ast.AST, names: list[str]) -> tuple[int, int]:
    """First line (from 0) and line after the last of the class or function of that dotted name."""
    node = tree
    for name in names:
        found = [n for n in ast.iter_child_nodes(node) if getattr(n, "name", None) == name]
        if len(found) != 1:
            raise ValueError(f"got {len(found)} objects named {'.'.join(names)}, want one. peft has changed.")
        node = found[0]
    return node.lineno - 1, node.end_lineno  # type: ignore[attr-defined]

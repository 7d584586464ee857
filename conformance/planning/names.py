"""What can be asked for by name, known before torch is imported: checks, and the form of a case's id."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from functools import cache
from pathlib import Path

CHECKS = Path(__file__).parents[1] / "checks" / "registry.py"

RESERVED = ("index", "results", "proof", "cost", "readme")
"""Files in the folder of the cards that are no cards."""

FORM = "VARIANT/REFERENCE/CHECK/CONFIGURATION"
READING = """\
A case id is VARIANT/REFERENCE/CHECK/CONFIGURATION. The configuration reads, from the left:
  t0 or perturbed    fresh adapter, or every trainable tensor moved away from its start
  f64, f32+bf16      dtype of layer and input; after a + that of the adapter's tensors, where it is another
                     (+default: what each side takes by itself)
  in12 out20         inputs and outputs of the linear layer
  r4 alpha6          rank and alpha
  bias or nobias     whether the layer has a bias
  batch5, batch2x3   leading dimensions of the input; nobatch: a single vector
  train              in training mode; last come the variant's options and the corner case, if there are any
  grad=inference     circumstances that the check `space` varies, named only where they are not the usual ones: here
  life=written       the mode of the call, and the adapter's history before it (written: a write through .data)
  by=3.0             size of the random shift of the trained tensors, as a share of their own (0.5 otherwise)
  calls=again        how it is called (again: a second backward over one graph). A card lists every value of every axis
"""
"""How to read a case id, for the help of the commands."""


class BadRequest(ValueError):
    """What was asked for does not exist. The message says what does."""


@cache
def check_names() -> tuple[str, ...]:
    """The checks in the order of the registry, read from the file."""
    for node in ast.parse(CHECKS.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "CHECKS":
            modules = next(each.iter for each in ast.walk(node) if isinstance(each, ast.comprehension))
            assert isinstance(modules, ast.Tuple)
            return tuple(ast.unparse(module) for module in modules.elts)
    raise ValueError(f"{CHECKS}: got no CHECKS, want the list of the checks. Restore it.")


def did_you_mean(got: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """``Did you mean 'lora'? ``, or nothing if no known name is near. Of equally near ones the first letter decides."""
    got = got.lower()
    near = {name: SequenceMatcher(None, name.lower(), got).ratio() for name in known}
    best = max(near, key=lambda name: (near[name], name[:1].lower() == got[:1]), default="")
    return f"Did you mean {best!r}? " if best and near[best] >= cutoff else ""


def require_names(names: Sequence[str], place: str) -> None:
    """BadRequest for a name that cannot be a card's: no plain identifier, a report's own name, or one given twice."""
    for name in names:
        why = (
            "want a plain name: letters, digits and _, a letter first"
            if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name)
            else f"which is the name of a report ({', '.join(RESERVED)})"
            if name.lower() in RESERVED
            else "more than once, want each entry under a name of its own"
            if names.count(name) > 1
            else ""
        )
        if why:
            raise BadRequest(f"--entries: got the name {name!r} at {place!r}, {why}. Rename the entry.")


def require_variants(names: Sequence[str], known: Sequence[str]) -> None:
    """BadRequest for the first name that is not known."""
    for name in names:
        if name not in known:
            raise BadRequest(f"unknown variant {name!r}. {did_you_mean(name, known)}Known: {', '.join(known)}.")


def require_check(name: str, at: str) -> None:
    """BadRequest if no check has this name. ``at``: where it was said."""
    if name not in check_names():
        raise BadRequest(
            f"{at}: unknown check {name!r}. {did_you_mean(name, check_names())}Known: {', '.join(check_names())}. "
            "README.md says what each asks."
        )


def require_case(case: str, variants: Sequence[str], known: Sequence[str]) -> None:
    """BadRequest if the id cannot be one of the named variants' cases, as far as its variant and its check tell.

    ``known``: all variants. A variant's name alone passes: only the plan has an example to show for it.
    """
    if not case:
        raise BadRequest(f"--case: the id is missing. Write {FORM}; `conformance list VARIANT` prints the ids.")
    parts = case.split("/")
    require_variants(parts[:1], known)
    if variants and parts[0] not in variants:
        raise BadRequest(f"--case: this case belongs to {parts[0]}, not to {', '.join(variants)}. Leave the name out.")
    if len(parts) >= 4:
        require_check(parts[2], "--case")

"""``conformance new variant``: the files of a variant, and its place in every registry. No torch, nothing imported."""

from __future__ import annotations

import ast
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from string import Template

from conformance.planning.edits import Edits, require_free
from conformance.planning.names import BadRequest
from subjects.own.names import ROOT, listed

TEMPLATES = Path(__file__).with_name("templates")
ROWS = "subjects/own/low_rank.py"
COMMON = ("r", "alpha", "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "init_weights")
"""Settings of peft's configs that the starter of the exchange honours, or that choose modules or a start."""


@dataclass(frozen=True)
class PeftFacts:
    """What the installed peft says of a method, read from its files."""

    config: str
    peft_type: str
    objects: tuple[str, ...]
    tensors: tuple[str, ...]
    settings: tuple[tuple[str, str], ...]
    """Its other settings, each with its default as source text."""


def new_variant(name: str, class_name: str | None = None, root: Path = ROOT) -> tuple[tuple[str, ...], str]:
    """Write the starter; the files, and what to do next. BadRequest, with nothing changed, for a name that cannot be.

    ``class_name``: of the adapter's class, made from ``name`` unless given.
    """
    require_free(name, tuple(known for known, _ in listed(root)), "variant")
    Class = class_name or "".join(part.capitalize() for part in name.split("_"))
    if not Class.isidentifier() or not Class[0].isupper():
        raise BadRequest(f"new variant: got class {Class!r}, want a class name such as LoHa. Name one with --class.")
    words = {"name": name, "Class": Class, "UPPER": name.upper()}
    facts = peft_facts(name)
    edits = Edits(root)
    edits.require_unbound("variants/registry.py", Class)
    edits.require_unbound("variants/__init__.py", name, f"{Class}Config", also=(root / "variants" / name).is_dir())
    edits.require_unbound("refs/registry.py", name)
    for file in (ROWS, "subjects/own/roster.py"):
        edits.require_unbound(file, name.upper())
    edits.create(f"variants/{name}.py", TEMPLATES / "variant.py.txt", **words)
    edits.add_import("variants/registry.py", f"from variants.{name} import {Class}")
    edits.add_to("variants/registry.py", "VARIANTS", Class)
    edits.add_import("variants/__init__.py", f"from variants.{name} import {Class}Config")
    edits.add_to("variants/__init__.py", "__all__", f'"{Class}Config"', ordered=True)
    if facts is None:
        edits.create(f"refs/methods/{name}.py", TEMPLATES / "method.py.txt", **words)
    else:
        _with_peft(edits, facts, words)
    edits.add_import("refs/registry.py", f"from refs.methods import {name}")
    edits.add_to("refs/registry.py", "METHODS", f"{name}.METHOD")
    edits.append(ROWS, Template((TEMPLATES / "row.py.txt").read_text(encoding="utf-8")).substitute(words))
    edits.add_import("subjects/own/roster.py", f"from subjects.own.low_rank import {name.upper()}")
    edits.add_to("subjects/own/roster.py", "ENTRIES", name.upper())
    return edits.write(), _next(name, facts)


def peft_facts(name: str) -> PeftFacts | None:
    """What peft has under ``peft/tuners/<name>``; None if there is no such method, or not in the usual form."""
    spec = importlib.util.find_spec("peft")
    folder = Path(spec.origin or "").parent / "tuners" / name if spec is not None else Path()
    if not (folder / "config.py").is_file() or not (folder / "layer.py").is_file():
        return None
    source = (folder / "config.py").read_text(encoding="utf-8")
    classes = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    config = next(
        (node for node in classes if node.name.endswith("Config") and node.name.lower() == f"{name}config"), None
    )
    kind = re.search(r"self\.peft_type = PeftType\.(\w+)", source)
    if config is None or kind is None:
        return None
    layers = [
        n for n in ast.parse((folder / "layer.py").read_text(encoding="utf-8")).body if isinstance(n, ast.ClassDef)
    ]
    used = [node.name for node in layers if node.name == "Linear" or node.name.lower().endswith(("layer", "linear"))]
    objects = (
        *(f"peft/tuners/{name}/layer.py::{each}" for each in used),
        "peft/tuners/tuners_utils.py::cast_adapter_dtype",
    )
    tensors = tuple(each for node in layers for each in _names_in(node, "adapter_layer_names"))
    return PeftFacts(config.name, kind[1], objects, tensors, tuple(_settings(config)))


def _with_peft(edits: Edits, facts: PeftFacts, words: dict[str, str]) -> None:
    name = words["name"]
    more = {
        "config": facts.config,
        "peft_type": facts.peft_type,
        "tensors": ", ".join(facts.tensors) or "none, see its layer.py",
        "objects": "\n".join(f'    "{each}",' for each in facts.objects),
        "off": "\n".join(f'        "{key}": ({value}, "to do: what it means"),' for key, value in facts.settings),
    }
    edits.create(f"refs/methods/{name}.py", TEMPLATES / "method_peft.py.txt", **words, **more)
    edits.create(f"variants/exchange/peft_{name}.py", TEMPLATES / "exchange.py.txt", **words, **more)
    edits.add_import("variants/exchange/registry.py", f"from variants.exchange import peft_{name}")
    edits.add_to("variants/exchange/registry.py", "PEFT_METHODS", f"peft_{name}.METHOD")


def _names_in(node: ast.ClassDef, variable: str) -> list[str]:
    found: list[str] = []
    for line in node.body:
        if isinstance(line, ast.Assign | ast.AnnAssign) and isinstance(line.value, ast.Tuple):
            targets = line.targets if isinstance(line, ast.Assign) else [line.target]
            if variable in map(ast.unparse, targets):
                found += [str(each.value) for each in line.value.elts if isinstance(each, ast.Constant)]
    return found


def _settings(config: ast.ClassDef) -> list[tuple[str, str]]:
    """Fields of the config beyond the common ones, with their defaults; patterns are inherited or made by a factory."""
    found = {"rank_pattern": "{}", "alpha_pattern": "{}"}
    for line in config.body:
        if isinstance(line, ast.AnnAssign) and isinstance(line.value, ast.Call):
            default = next((each.value for each in line.value.keywords if each.arg == "default"), None)
            key = ast.unparse(line.target)
            if isinstance(default, ast.Constant) and key not in COMMON:
                found[key] = repr(default.value).replace("'", '"')
    return sorted(found.items())


def _next(name: str, facts: PeftFacts | None) -> str:
    """What to do now, in order."""
    if facts is None:
        about = f"peft has no method {name!r}. Say in refs/methods/{name}.py what the reference is."
    else:
        about = (
            f"peft has {facts.config}. Fill in NAMES in refs/methods/{name}.py and variants/exchange/peft_{name}.py."
        )
    return (
        f"{about}\n"
        f"Then: write the formula in variants/{name}.py, `python -m refs.lock`, the row in {ROWS},\n"
        f"`conformance audit {name}`. docs/adding.md has every step."
    )

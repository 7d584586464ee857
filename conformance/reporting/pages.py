"""One page per variant for its users, in ``docs/variants/``: ``python -m conformance.reporting.pages``.

Formula, options and tensors come from the code, so a test can compare them with the committed pages. What works and
what it costs come from ``reports/results.json`` and ``reports/cost.json``; they are between two comments.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from torch import nn

from conformance.nouns.entry import ROOT, Entry
from refs.reference import Live
from refs.settings import Settings
from refs.subject import Subject

FOLDER = ROOT / "docs" / "variants"
REPORTS = ROOT / "reports"
TEMPLATES = Path(__file__).with_name("templates")
MEASURED = re.compile(r"<!-- from reports/ -->.*?<!-- end -->", re.DOTALL)
"""The part of a page that depends on measured reports."""
OPTION = "option"
"""Key of an option's documentation in the metadata of its field."""


@dataclass(frozen=True)
class TensorRow:
    """A tensor of the variant, and what peft calls it."""

    name: str
    shape: str
    trains: str
    peft: str


@dataclass(frozen=True)
class CostRow:
    """A count or a time of the variant, of peft and of the bare layer, as text."""

    what: str
    ours: str
    peft: str


def render(entries: Iterable[Entry], results: Mapping[str, Any], costs: Mapping[str, Any]) -> dict[str, str]:
    """File name -> contents, one page per entry that has a config."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    environment.filters["cell"] = lambda text: str(text).replace("|", "\\|").replace("\n", " ")
    template = environment.get_template("variant.md.j2")
    pages = {}
    for entry in entries:
        if config := getattr(entry.code, "Config", None):
            first, _, rest = (inspect.getdoc(inspect.getmodule(entry.code)) or "").partition("\n")
            page = template.render(
                entry=entry,
                summary=first,
                notes=rest.strip("\n"),
                needs_data=_needs_data(entry),
                config=config,
                options=options(config),
                tensors=tensors(entry),
                result=results.get("variants", {}).get(entry.name),
                costs=cost_rows(costs, entry.name),
            )
            pages[f"{entry.name}.md"] = page.rstrip() + "\n"
    return pages


def options(config: type) -> list[tuple[str, Any, str]]:
    """Name, documentation and default of every option, the method's own first. ValueError if one is undocumented."""
    from_all = ("targets", "dtype")
    fields = sorted(dataclasses.fields(config), key=lambda field: field.name in from_all)
    for field in fields:
        if OPTION not in field.metadata:
            raise ValueError(
                f"{config.__name__}.{field.name}: got no documentation, want the option's meaning and range. "
                "Declare it with option(...) of variants/options.py."
            )
    return [(field.name, field.metadata[OPTION], _default(field)) for field in fields]


def _needs_data(entry: Entry) -> bool:
    """Whether the variant starts from data: then each of its references is asked with calibration inputs."""
    method = entry.method
    return method is not None and all("calibration" in dict(r.options) for r in method.references)


def _default(field: dataclasses.Field[Any]) -> str:
    made = field.default_factory
    return repr(field.default) if made is dataclasses.MISSING else f"{getattr(made, '__name__', '')}()"


def tensors(entry: Entry) -> list[TensorRow]:
    """The tensors on a layer 12 -> 20 with r=4, with the names of the first live reference that is asked everything."""
    method = entry.method
    always = method.main.options if method is not None else ()
    slots = entry.build(nn.Linear(12, 20), Settings(options=always)).slots()
    live = next((r for r in method.built if isinstance(r, Live) and not r.checks), None) if method else None
    names = {} if live is None else _peft_names(live.build(nn.Linear(12, 20), Settings(options=live.options)))
    return [
        TensorRow(
            name,
            " x ".join(map(str, slot.value.shape)),
            "yes" if slot.trainable else "no",
            names.get(name, "-"),
        )
        for name, slot in sorted(slots.items())
    ]


def _peft_names(subject: Subject) -> dict[str, str]:
    """``lora_A.default.weight``: the path of each tensor within the adapted layer, without the layer's own name."""
    return {name: path.removeprefix("layer.") for name, (path, _) in subject.names.items()}


def cost_rows(costs: Mapping[str, Any], name: str) -> list[CostRow]:
    """Counts at the usual point and times beside peft; empty where the variant was not measured."""
    row = next((r for r in costs.get("counts", {}).get("counted", ()) if r["name"] == name), None)
    if row is None:
        return []
    ours, peft, bare = row["ours"], row["peft"], row["bare"]

    def both(what: str, text: Any) -> CostRow:
        return CostRow(what, text(ours), "-" if peft is None else text(peft))

    rows = [
        both("trainable parameters", lambda side: f"{side['trainable']:,}".replace(",", " ")),
        both("adapter, MB", lambda side: f"{side['adapter_bytes'] / 1e6:.2f}"),
        both("matrix flops over the bare layer", lambda side: f"{side['flops'] / bare['flops']:.3f}"),
        both("saved for the backward, MB", lambda side: f"{side['saved'] / 1e6:.2f}"),
        both("peak over the bare layer, MB", lambda side: f"{(side['peak'] - bare['peak']) / 1e6:.2f}"),
    ]
    ratios = [r["to_peft"]["median"] for r in costs["times"]["timed"] if r["name"] == name and r["to_peft"]]
    if ratios:
        rows.append(CostRow("time of forward and backward over peft's", f"{min(ratios):.2f} to {max(ratios):.2f}", "1"))
    return rows


def without_measured(page: str) -> str:
    """The page without what depends on measured reports."""
    return MEASURED.sub("", page)


def write(entries: Iterable[Entry], folder: Path = FOLDER, reports: Path = REPORTS) -> tuple[Path, ...]:
    """Write the pages, and remove those of variants that are gone."""
    pages = render(entries, _json(reports / "results.json"), _json(reports / "cost.json"))
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.md"):
        if path.name not in pages:
            path.unlink()
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    return tuple(folder / name for name in pages)


def _json(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    data: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return data


def main() -> int:
    """Write the pages of this repository's variants."""
    words = "Write docs/variants/*.md from the configs, the committed results and the cost report."
    argparse.ArgumentParser(prog="python -m conformance.reporting.pages", description=words).parse_args()
    from conformance.planning.select import entries_at

    for path in write(entries_at(None)):
        print(path.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The page of other libraries: ``python -m subjects.scoreboard FOLDER`` joins the results of their audits.

FOLDER holds ``LIBRARY/results.json`` for each folder in ``subjects/`` that was audited, in an environment of its own.
The page has no sums and no ranking. A row is a library, its version and a method; what was not audited is not there.

``subjects/LIBRARY/known.json`` lists each entry with the checks that must find something: differences that were looked
into, each with a reproducer. An empty list is a control, of which nothing may be found that its maintainers must fix.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from conformance.nouns.finding import Severity
from conformance.reporting.view import SECTIONS

HERE = Path(__file__).parent
PAGE = HERE.parent / "reports" / "subjects" / "index.md"
HEAD = """# Other libraries

One row per method of a library, audited in an environment of its own (`subjects/`). A cell is the state of a section of
the card, as in [the index](../index.md); *stricter* and *float64 only* are explained in
[Reading a card](../../docs/reading-a-card.md). In alphabetical order.
"""
TAIL = """
## What can be reproduced without this project

Each script needs the library alone, and fails when the difference is gone.

"""


def page(found: Mapping[str, Mapping[str, Any]]) -> str:
    """The page as Markdown, of each library's ``results.json``."""
    sections = [name for name, _ in SECTIONS]
    rows = [_row(library, name, each) for library in sorted(found) for name, each in sorted(found[library].items())]
    head = f"| library and method | {' | '.join(sections)} | verdict | why |\n|{'---|' * (len(sections) + 3)}\n"
    return HEAD + "\n" + head + "".join(rows) + TAIL + "".join(_scripts())


def results(folder: Path) -> dict[str, dict[str, Any]]:
    """Library -> entry -> its result. ValueError if there is none."""
    files = sorted(folder.glob("*/results.json"))
    if not files:
        raise ValueError(
            f"{folder}: got no LIBRARY/results.json, want those of `conformance audit --out {folder}/LIBRARY`"
        )
    return {file.parent.name: json.loads(file.read_text(encoding="utf-8"))["variants"] for file in files}


def unexpected(library: str, found: Mapping[str, Any], here: Path = HERE) -> list[str]:
    """What is found of a control, is missing where it is known, or is of an entry nobody looked into; a line each."""
    known: dict[str, list[str]] = json.loads((here / library / "known.json").read_text(encoding="utf-8"))
    told = [f"{name}: got no result, want one. Audit it." for name in sorted(known.keys() - found.keys())]
    for name, result in sorted(found.items()):
        if name not in known:
            told.append(f"{name}: got no line in subjects/{library}/known.json, want one. Look into it first.")
            continue
        of = [each for each in result["findings"] if each["severity"] == Severity.MUST_FIX.value]
        shown = sorted({each["case"].split("/")[2] for each in of})
        if result["verdict"] == "UNPROVEN":
            told.append(f"{name}: got UNPROVEN ({result['reason']}), want an answer.")
        if not known[name] and of:
            told.append(f"{name}: a control; got {of[0]['text']} ({', '.join(shown)}), want no such finding.")
        if missing := sorted(set(known[name]) - set(shown)):
            told.append(f"{name}: got nothing of {', '.join(missing)}, want what is known. Run its reproducers.")
    return told


def _row(library: str, name: str, result: Mapping[str, Any]) -> str:
    version = (HERE / library / "requirements.txt").read_text(encoding="utf-8").split()[0]
    method = name.removeprefix(f"{library}_")
    cells = " | ".join(result["sections"][section] for section, _ in SECTIONS)
    return f"| {version}: {method} | {cells} | **{result['verdict']}** | {result['reason']} |\n"


def _scripts() -> list[str]:
    lines = []
    for file in sorted((HERE / "reproducers").glob("*.py")):
        told = " ".join((ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").split())
        lines.append(f"- `subjects/reproducers/{file.name}`: {told}\n")
    return lines


def main(arguments: Sequence[str]) -> int:
    """Write the page: ``reports/subjects/index.md`` once every library is there. Status 1 for what is not expected.

    ``FOLDER LIBRARY``: of that library alone. ``FOLDER``: of all.
    """
    folder, *asked = arguments
    found = results(Path(folder))
    every = sorted(file.parent.name for file in HERE.glob("*/known.json"))
    target = PAGE if set(every) <= set(found) else Path(folder) / PAGE.name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(page(found), encoding="utf-8", newline="\n")
    told = [line for library in asked or every for line in unexpected(library, found.get(library, {}))]
    print(target, *told, sep="\n")
    return 1 if told else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

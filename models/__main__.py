"""``python -m models``: run every variant on every model, write ``reports/models.md``, fail if a step fails."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from models.table import COLUMNS, NAMES, Cells, render, run
from models.two import quiet
from models.zoo import KINDS

PAGE = Path(__file__).parents[1] / "reports" / "models.md"


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0, 1 if a step fails, 2 for a name that is not known."""
    parser = argparse.ArgumentParser(prog="models", description=__doc__)
    parser.add_argument("--model", action="append", choices=[kind.name for kind in KINDS], help="only this one; again")
    parser.add_argument("--variant", action="append", choices=NAMES, help="only this one; may be given again")
    parser.add_argument("--out", type=Path, default=PAGE, help="where to write the page (default: %(default)s)")
    parser.add_argument("--cells", type=Path, help="a file that collects cells over several runs; all make the page")
    asked = parser.parse_args(arguments)
    part = bool(asked.model or asked.variant)
    if part and asked.out == PAGE and not asked.cells:
        parser.error("a part of the table does not replace the committed page: pass --out, or --cells to collect parts")
    quiet()
    kinds = [kind for kind in KINDS if not asked.model or kind.name in asked.model]
    cells = run(kinds, asked.variant or NAMES)
    known = cells
    if asked.cells:
        known = _read(asked.cells) | cells
        asked.cells.write_text(json.dumps([[*key, text] for key, text in known.items()], indent=0), encoding="utf-8")
    missing = [key for key in _all() if key not in known]
    if not missing or asked.out != PAGE:
        asked.out.write_text(render(known), encoding="utf-8")
    failed = [f"{' / '.join(key)}: {value}" for key, value in cells.items() if value.startswith("fails")]
    print(f"{len(cells)} cells, {len(failed)} fail. ", end="")
    print(f"{len(missing)} are not there yet" if missing and asked.out == PAGE else asked.out, *failed, sep="\n")
    return 1 if failed else 0


def _read(file: Path) -> Cells:
    rows = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    return {(model, variant, step): text for model, variant, step, text in rows}


def _all() -> list[tuple[str, str, str]]:
    return [(kind.name, name, column) for kind in KINDS for name in NAMES for column in COLUMNS]


if __name__ == "__main__":
    raise SystemExit(main())

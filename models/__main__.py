"""``python -m models``: run every variant on every model, write ``reports/models.md``, fail if a step fails."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch

from models.table import NAMES, render, run
from models.zoo import KINDS

PAGE = Path(__file__).parents[1] / "reports" / "models.md"


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0, 1 if a step fails, 2 for a name that is not known."""
    parser = argparse.ArgumentParser(prog="models", description=__doc__)
    parser.add_argument("--model", action="append", choices=[kind.name for kind in KINDS], help="only this one; again")
    parser.add_argument("--variant", action="append", choices=NAMES, help="only this one; may be given again")
    parser.add_argument("--out", type=Path, default=PAGE, help="where to write the page (default: %(default)s)")
    asked = parser.parse_args(arguments)
    if (asked.model or asked.variant) and asked.out == PAGE:
        parser.error("a part of the table does not replace the committed page: pass --out")
    os.environ["HF_HUB_OFFLINE"] = "1"
    torch.set_num_threads(1)
    kinds = [kind for kind in KINDS if not asked.model or kind.name in asked.model]
    cells = run(kinds, asked.variant or NAMES)
    asked.out.write_text(render(cells), encoding="utf-8")
    failed = [f"{' / '.join(key)}: {value}" for key, value in cells.items() if value.startswith("fails")]
    print(f"{len(cells)} cells, {len(failed)} fail. {asked.out}", *failed, sep="\n")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())

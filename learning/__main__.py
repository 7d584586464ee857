"""``python -m learning [VARIANT...]``: train, and write ``learning.md``, ``learning.json`` and a plot per variant."""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> int:
    """The exit status: 0 when everything is written, 2 for an unknown variant."""
    from learning.rates import RATES
    from learning.task import MODELS

    options = _parser().parse_args()
    if unknown := [name for name in options.variants if name not in RATES]:
        print(f"learning: got {unknown[0]!r}, want some of {', '.join(RATES)}", file=sys.stderr)
        return 2
    import torch

    from learning import distributed, measure, plot, render

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    names, start = options.variants or list(RATES), time.perf_counter()

    def say(what: str) -> None:
        print(f"{time.perf_counter() - start:4.0f} s  {what}", file=sys.stderr, flush=True)

    rows = measure.all_rows(names, list(MODELS), say)
    answers = distributed.compared(names)
    say("two processes")
    folder: Path = options.out
    files = {render.MARKDOWN: render.markdown(rows, answers), render.DATA: render.to_json(rows, answers)}
    files |= {render.plot_name(name): plot.svg([row for row in rows if row.variant == name]) for name in names}
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    print(f"{len(names)} variants on {len(MODELS)} models. Page: {folder / render.MARKDOWN}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m learning", description=__doc__)
    parser.add_argument("variants", nargs="*", metavar="VARIANT", help="all of them if none is named")
    parser.add_argument("--out", type=Path, default=ROOT / "reports", help="folder to write to (reports)")
    return parser


if __name__ == "__main__":
    sys.exit(main())

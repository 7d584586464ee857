"""``conformance cost``: what the variants cost."""

from __future__ import annotations

import argparse
from pathlib import Path

from conformance.commands.options import PLOTS, WORK, Commands, add_entries, require_installed
from conformance.planning.names import require_variants

PARTS = ("layers", "models")
"""What is measured if nothing is said; the first has ``decoding`` in it."""


def add_to(commands: Commands) -> None:
    """Say what ``cost`` takes."""
    parser = commands.add_parser("cost", help="measure what the variants cost beside the bare layer and beside peft")
    parser.add_argument("variants", nargs="*", metavar="VARIANT", help="all if none is named")
    parser.add_argument("--quick", action="store_true", help="the counts, two points of time, and a tiny model")
    parser.add_argument("--part", choices=(*PARTS, "decoding"), help="measure this alone, and keep the rest")
    parser.add_argument(
        "--out", type=Path, help="where cost.md goes (default reports/; if quick or of some, .conformance/reports)"
    )
    add_entries(parser)
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Measure and write."""
    from conformance.planning.select import own_names

    if options.entries is None:
        require_variants(options.variants, [name for name, _ in own_names()])
    require_installed("cost", PLOTS)
    from conformance.cost.command import write_costs

    partial = options.quick or options.variants or options.entries
    out = options.out or (WORK / "reports" if partial else Path("reports"))
    parts = PARTS if options.part is None else (options.part,)
    return write_costs(options.variants, quick=options.quick, out=out, entries=options.entries, parts=parts)

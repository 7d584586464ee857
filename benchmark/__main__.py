"""``python -m benchmark run|tiny|report``: a run of the comparison, the whole of it on a tiny model, the table."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from pathlib import Path

from benchmark.settings import BARE, DTYPES, Settings
from conformance.planning.names import require_variants
from learning.rates import RATES

WORK = Path(".conformance/benchmark")
RESULTS = WORK / "results.tsv"


def main(arguments: list[str] | None = None) -> int:
    """The exit status: 0, or 2 for what cannot be done, with one line that says why."""
    options = _parser().parse_args(arguments)
    warnings.simplefilter("ignore")
    try:
        return int(options.command(options))
    except (ValueError, OSError) as error:  # BadRequest and AdapterError are ValueErrors
        if os.environ.get("RANK", "0") == "0":
            print(f"benchmark: {error}", file=sys.stderr)
        return 2


def _run(options: argparse.Namespace) -> int:
    given = {key: value for key, value in vars(options).items() if key in Settings.__dataclass_fields__}
    require_variants([options.variant], [BARE, *RATES])
    if given["lr"] is None:
        given["lr"] = 0.0 if options.variant == BARE else RATES[options.variant].lr
    settings = Settings(**{**given, "options": tuple(given["options"]), "targets": tuple(given["targets"])})
    from benchmark.run import run

    name = run(settings, options.results, dirty=options.dirty, again=options.again)
    if os.environ.get("RANK", "0") == "0":
        print(f"{name} -> {options.results}")
    return 0


def _tiny(options: argparse.Namespace) -> int:
    require_variants(options.variants, [BARE, *RATES])
    from benchmark import report, tiny

    names = options.variants or [BARE, *RATES]
    tiny.run_all(names, options.out, dirty=options.dirty, seeds=options.seeds, steps=options.steps)
    print(*report.write(options.out / tiny.RESULTS, options.out), sep="\n")
    return 0


def _report(options: argparse.Namespace) -> int:
    from benchmark import report

    print(*report.write(options.results, options.out or options.results.parent), sep="\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmark", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="train one variant, ask the test questions, append a row")
    run.add_argument("--variant", required=True, help=f"one of the variants, or {BARE}: the base as it is")
    run.add_argument("--model", type=Path, required=True, help="local folder with config, weights and tokenizer")
    run.add_argument("--train", type=Path, required=True, help="MetaMathQA's JSON file")
    run.add_argument("--test", type=Path, required=True, help="GSM8K's JSONL file")
    run.add_argument("--set", dest="options", action="append", default=[], metavar="NAME=VALUE", help="an option: r=16")
    run.add_argument("--targets", nargs="*", default=[], help="names of layers; every linear layer if none is given")
    run.add_argument("--lr", type=float, help="learning rate (that of the method's authors)")
    run.add_argument("--dtype", choices=DTYPES, default=_default("dtype"), help="of the base's weights (%(default)s)")
    run.add_argument("--kinds", default="", help="what the type of a training record begins with: GSM (all types)")
    run.add_argument("--checkpointing", action="store_true", help="recompute activations in the backward pass")
    for name, help_ in NUMBERS.items():
        default = _default(name)
        flag = f"--{name.replace('_', '-')}"
        run.add_argument(flag, dest=name, type=type(default), default=default, help=f"{help_} (%(default)s)")
    run.add_argument("--results", type=Path, default=RESULTS, help="the table (%(default)s)")
    run.add_argument("--again", action="store_true", help="also if the table has this very run")
    run.set_defaults(command=_run)
    tiny = commands.add_parser("tiny", help="everything on a tiny model and arithmetic made here; no comparison")
    tiny.add_argument("variants", nargs="*", metavar="VARIANT", help="all of them, and the bare base, if none is named")
    tiny.add_argument("--seeds", type=int, default=2, help="runs of each (%(default)s)")
    tiny.add_argument("--steps", type=int, default=60, help="steps of each (%(default)s)")
    tiny.add_argument("--out", type=Path, default=WORK / "tiny", help="folder to write to (%(default)s)")
    tiny.set_defaults(command=_tiny)
    for command in (run, tiny):
        command.add_argument("--dirty", action="store_true", help="also if files differ from the commit; the row tells")
    report = commands.add_parser("report", help="a table and plots of the runs")
    report.add_argument("--results", type=Path, default=RESULTS, help="the table of runs (%(default)s)")
    report.add_argument("--out", type=Path, help="folder to write to (that of the table)")
    report.set_defaults(command=_report)
    return parser


NUMBERS = {
    "seed": "of the adapter's start and the order of the data",
    "steps": "optimiser steps",
    "batch": "rows per step, over all devices",
    "micro": "rows at once on a device",
    "warmup": "share of the steps with a rising learning rate",
    "weight_decay": "of AdamW",
    "clip": "largest norm of the gradient; 0 for none",
    "train_size": "records to train on",
    "valid_size": "records for the validation loss",
    "test_size": "questions to ask; 0 for all",
    "data_seed": "of the choice of records",
    "max_length": "tokens; longer records are left out",
    "max_new": "tokens to generate at most",
    "eval_batch": "questions at once on a device",
}


def _default(name: str) -> object:
    return Settings.__dataclass_fields__[name].default


if __name__ == "__main__":
    sys.exit(main())

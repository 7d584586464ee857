"""The command line: list, audit without pytest, run the whole audit with its gate, measure costs, add a variant."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from conformance.commands import (
    audit,
    completion,
    cost,
    diff,
    explain,
    fuzz,
    history,
    listing,
    new,
    probe,
    record,
    report,
    run,
)
from conformance.planning.names import did_you_mean
from conformance.running.children import ended_on_signals

COMMANDS = (run, audit, explain, fuzz, probe, report, diff, history, cost, listing, new, record, completion)
"""In the order of the help."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 all is well, 1 the gate is closed, 2 the request makes no sense, 130 Ctrl-C, 143 SIGTERM."""
    options = _parser().parse_args(arguments)
    try:
        with ended_on_signals():
            return int(options.command(options))
    except BrokenPipeError:
        # Whoever read the output has enough of it. Nothing may be flushed into the closed pipe at exit. The gate may
        # not have been asked yet, so this is no success: it is what a shell says of a program that SIGPIPE ended.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ValueError, OSError) as error:
        print(f"conformance: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("conformance: interrupted", file=sys.stderr)
        return 130


class _Parser(argparse.ArgumentParser):
    """Its errors name what was probably meant."""

    def error(self, message: str) -> NoReturn:
        wrong = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
        if wrong:
            known = [name.strip(" '") for name in wrong[2].split(",")]
            message = f"got {wrong[1]!r}, want one of {', '.join(known)}. {did_you_mean(wrong[1], known)}".rstrip()
        super().error(message)


class _Version(argparse.Action):
    """Print the versions of the suite and of what it compares with. Nothing is imported for it."""

    def __init__(self, option_strings: Sequence[str], dest: str, **more: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, help=more.get("help"))

    def __call__(self, parser: argparse.ArgumentParser, *_: object, **__: object) -> NoReturn:
        print(f"conformance {_version('adapter-conformance')} (peft {_version('peft')}, torch {_version('torch')})")
        parser.exit()


def _version(package: str) -> str:
    import tomllib
    from importlib import metadata
    from pathlib import Path

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        project = Path(__file__).parents[1] / "pyproject.toml"
        if package != "adapter-conformance" or not project.is_file():
            return "not installed"
        return str(
            tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"]
        )  # a checkout, not installed


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="conformance", description="Measure adapter variants against their references and write verdict cards."
    )
    parser.add_argument("--version", action=_Version, help="print the versions of the suite, peft and torch")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_to(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())

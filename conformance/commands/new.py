"""``conformance new``: the files of a new variant or check, with its place in every registry; or a foreign entry."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from conformance.commands.options import Commands, add_json
from conformance.planning.edits import Edits, require_free
from conformance.planning.names import check_names

ROOT = Path(__file__).parents[2]
TEMPLATES = Path(__file__).with_name("templates")
GROUPS = {"start": "init", "tensors": "params", "numbers": "forward", "lifecycle": "lifecycle", "use": "use"}
"""Folder of a check -> section of the card."""


def add_to(commands: Commands) -> None:
    """Say what ``new`` takes."""
    parser = commands.add_parser(
        "new", help="write the starting files of a new variant, check or entry, and register them"
    )
    kinds = parser.add_subparsers(required=True, metavar="variant|check|entry")
    variant = kinds.add_parser("variant", help="a starter that runs, its reference, its row, its exchange with peft")
    variant.add_argument("name", metavar="NAME", help="lower case; if peft has a method of this name, it is used")
    variant.add_argument("--class", dest="class_name", metavar="CLASS", help="such as LoHa (default: from the name)")
    variant.set_defaults(command=_variant)
    check = kinds.add_parser("check", help="a check that asks nothing yet, and a test that fails until it does")
    check.add_argument("name", metavar="NAME", help="lower case")
    check.add_argument("--group", choices=GROUPS, default="numbers", help="its folder (default numbers)")
    check.set_defaults(command=_check)
    entry = kinds.add_parser("entry", help="an entry for somebody else's class, ready to be audited")
    entry.add_argument("path", metavar="PATH", type=Path, help="the file to write, such as audit_mine.py")
    entry.add_argument("--method", required=True, help="the method that it claims to be, such as dora or peft:dora")
    entry.add_argument("--class", dest="place", required=True, metavar="MODULE:CLASS", help="what is to be audited")
    entry.set_defaults(command=_entry)
    for kind in (variant, check, entry):
        add_json(kind)


def _entry(options: argparse.Namespace) -> int:
    from conformance.foreign.starter import write_entry

    return _say(options, (str(options.path),), write_entry(options.path, options.method, options.place))


def _variant(options: argparse.Namespace) -> int:
    from conformance.planning.select import own_new_variant

    files, todo = own_new_variant(options.name, options.class_name)
    return _say(options, files, todo)


def _check(options: argparse.Namespace) -> int:
    files, todo = new_check(options.name, options.group)
    return _say(options, files, todo)


def new_check(name: str, group: str, root: Path = ROOT) -> tuple[tuple[str, ...], str]:
    """Write the starter; its files, and what to do next. BadRequest, with nothing changed, for an impossible name."""
    require_free(name, check_names(), "check")
    edits = Edits(root)
    file, test = f"conformance/checks/{group}/{name}.py", f"tests/harness/test_check_{name}.py"
    edits.create(file, TEMPLATES / "check.py.txt", name=name)
    edits.create(test, TEMPLATES / "test_check.py.txt", name=name)
    edits.add_import("conformance/checks/registry.py", f"from conformance.checks.{group} import {name}")
    edits.add_to("conformance/checks/registry.py", "CHECKS", name)
    edits.add_to_section("conformance/reporting/view.py", "SECTIONS", GROUPS[group], name)
    todo = (
        f"Write the question, `probes` and `run` in {file}, and a wrong variant in {test}, which fails until then.\n"
        "docs/adding.md has every step."
    )
    return edits.write(), todo


def _say(options: argparse.Namespace, files: tuple[str, ...], todo: str) -> int:
    if options.json:
        print(json.dumps({"files": list(files), "next": todo}, indent=2))
        return 0
    for file in files:
        print(file)
    print(f"\n{todo}")
    return 0

"""What the emulated machines are, seen from a process inside them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from machines.audit import START, WITNESSES
from machines.registry import MACHINES, choose

pytestmark = pytest.mark.integration

AT_ONCE = choose([], short=True)
PARTS = [part for both in AT_ONCE for part in both.parts]
HOOKED = [*AT_ONCE, *(m for m in MACHINES if m.hook and m.prepare is None and m not in PARTS)]


@pytest.mark.parametrize("machine", HOOKED, ids=lambda machine: machine.name)
def test_a_hook_makes_the_machine(machine) -> None:  # type: ignore[no-untyped-def]
    """The row would be skipped on every computer. Of the repacked one: its plain kernel would read other weights."""
    path = os.pathsep.join([str(START), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, **machine.environment, "PYTHONPATH": path, "MACHINE_HOOK": machine.hook}
    for witness, want in machine.witnesses:
        command = [sys.executable, "-P", str(WITNESSES), witness]
        done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", check=True)
        assert done.stdout.strip() == want


def test_an_error_in_a_hook_ends_the_process() -> None:
    """Python prints it and goes on: on the computer as it is."""
    environment = {**os.environ, "PYTHONPATH": str(START), "MACHINE_HOOK": "of_no_such_name"}
    done = subprocess.run([sys.executable, "-c", "print('on')"], env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (70, b"")

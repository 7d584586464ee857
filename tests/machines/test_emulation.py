"""What the emulated machines are, seen from a process inside them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from machines.audit import START, WITNESSES
from machines.registry import MACHINES

HOOKED = [machine for machine in MACHINES if machine.hook and machine.prepare is None]


@pytest.mark.parametrize("machine", HOOKED, ids=lambda machine: machine.name)
def test_a_hook_makes_the_machine(machine) -> None:  # type: ignore[no-untyped-def]
    """The row would be skipped on every computer. Of the repacked one: its plain kernel would read other weights."""
    path = os.pathsep.join([str(START), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, **machine.environment, "PYTHONPATH": path, "MACHINE_HOOK": machine.hook}
    command = [sys.executable, "-P", str(WITNESSES), machine.witness]
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.strip() == machine.want


def test_an_error_in_a_hook_ends_the_process() -> None:
    """Python prints it and goes on: on the computer as it is."""
    environment = {**os.environ, "PYTHONPATH": str(START), "MACHINE_HOOK": "of_no_such_name"}
    done = subprocess.run([sys.executable, "-c", "print('on')"], env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (70, b"")

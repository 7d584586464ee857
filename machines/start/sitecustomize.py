"""Python runs this at the start of each process that has its folder on PYTHONPATH: it applies the machine's hooks.

Python only prints an error of a sitecustomize and goes on; the process would then run on another machine than the one
asked for. So this ends the process instead.
"""

import os
import runpy
import sys
import traceback
from pathlib import Path

HOOKS = Path(__file__).resolve().parents[1] / "hooks"
FAILED = 70
"""Exit status of a process whose hook raised."""

try:
    for hook in os.environ["MACHINE_HOOK"].split(","):
        runpy.run_path(str(HOOKS / f"{hook}.py"))
    trace = os.environ.get("MACHINE_TRACE")
    if trace:
        (Path(trace) / str(os.getpid())).touch()
except BaseException:
    traceback.print_exc()
    sys.stderr.flush()
    os._exit(FAILED)

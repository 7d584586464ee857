"""What a machine takes more than environment variables. Each changes a place, or raises CannotRun with the reason."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from machines.machine import CannotRun, Place, Preparation

WITNESSES = Path(__file__).with_name("witnesses.py")
UNPRIVILEGED = 1000
"""User and group id inside a user namespace."""


def numpy_without_avx512(place: Place) -> None:
    """Disable what this NumPy would use of AVX512. Names differ between its versions, so they are asked for."""
    asked = [sys.executable, "-P", str(WITNESSES), "numpy_beyond_avx2"]
    sets = subprocess.run(asked, env=place.environment, capture_output=True, encoding="utf-8", check=True).stdout
    if not sets.strip():
        raise CannotRun("NumPy uses no AVX512 on this CPU, so it cannot be switched off")
    place.environment["NPY_DISABLE_CPU_FEATURES"] = sets.strip()


def turkish(encoding: str) -> Preparation:
    """The locale tr_TR in an encoding, generated into the place where there is a ``localedef``."""

    def prepare(place: Place) -> None:
        name = f"tr_TR.{encoding}"
        place.environment["LC_ALL"] = name
        if sys.platform == "linux" and shutil.which("localedef"):
            folder = place.scratch / "locales"
            folder.mkdir()
            made = ["localedef", "-i", "tr_TR", "-f", encoding, str(folder / name)]
            done = subprocess.run(made, capture_output=True, encoding="utf-8", errors="replace", check=False)
            if not (folder / name).is_dir():
                raise CannotRun(f"localedef made no {name}: {done.stderr.strip()[-100:]}")
            place.environment["LOCPATH"] = str(folder)

    return prepare


def no_git(place: Place) -> None:
    """A PATH of one folder, with links to everything on PATH that is not git's."""
    if os.name != "posix":
        raise CannotRun("needs a folder of links, which Windows lets administrators make alone")
    folder = place.scratch / "bin"
    folder.mkdir()
    for entry in place.environment.get("PATH", os.defpath).split(os.pathsep):
        for tool in Path(entry).glob("*") if entry else ():
            link = folder / tool.name
            if not tool.name.startswith("git") and not link.is_symlink():
                link.symlink_to(tool.absolute())
    place.environment["PATH"] = str(folder)


def other_user(place: Place) -> None:
    """Not root, and with a HOME that cannot be written to. Where this runs as root: nobody, or in a user namespace."""
    if os.name != "posix":
        raise CannotRun("users of Windows are another matter")
    home = place.scratch / "home"
    home.mkdir()
    place.environment |= {"HOME": str(home), "TMPDIR": str(place.scratch / "tmp")}
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "HF_HOME", "MPLCONFIGDIR", "TORCH_HOME"):
        place.environment.pop(name, None)  # each would be a way around HOME
    (place.scratch / "tmp").mkdir()
    home.chmod(0o555)
    if os.geteuid() != 0:
        place.note = "the user who started it"
        return
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    namespace = ("unshare", "--user", f"--map-user={UNPRIVILEGED}", f"--map-group={UNPRIVILEGED}")
    if _starts(nobody):
        place.prefix, place.note = nobody, "nobody"
        for path in (place.scratch, *place.scratch.rglob("*")):
            if path != home:
                os.chown(path, 65534, 65534, follow_symlinks=False)
    elif _starts(namespace):
        place.prefix, place.note = namespace, "a user namespace, since nobody may not read this Python"
    else:
        raise CannotRun("root can start this Python neither as nobody (setpriv) nor in a user namespace (unshare)")


def _starts(prefix: Sequence[str]) -> bool:
    """Whether this Python and its packages can be had with that prefix, by the children of its processes, too."""
    if shutil.which(prefix[0]) is None:
        return False
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import torch'], check=True)"
    command = [*prefix, sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, check=False, cwd="/").returncode == 0

"""What a library's environment holds: ``python -m subjects.pins LIBRARY ...`` writes ``requirements.txt`` anew.

``subjects/LIBRARY/requirements.in`` says what is wanted, the library first. pip resolves it together with what the
suite itself requires (``pyproject.toml``: the core alone), and says the hash of each file that it would install. That
is the file of this platform and Python: the environments are for Linux on x86-64 and Python 3.11. torch has no hash:
its build for CPUs comes from one of several indexes, and it is pinned by the suite.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent
UNHASHED = ("torch", "adapter-conformance")
"""Installed beside what is pinned: as the suite pins it, and the suite itself."""
HEAD = "# Written by `python -m subjects.pins {}` from requirements.in; Linux on x86-64, Python 3.11.\n"


def pinned(library: str, report: Mapping[str, Any]) -> str:
    """``requirements.txt`` of pip's report on an installation, the library first. ValueError if it is not in there."""
    lines = dict(_lines(report["install"]))
    first = _first(HERE / library / "requirements.in")
    if first not in lines:
        raise ValueError(f"{library}: got no {first} in what pip would install, want the first of requirements.in")
    rest = [lines[name] for name in sorted(lines) if name != first]
    return "".join((f"{lines[first]}\n", HEAD.format(library), *(f"{line}\n" for line in rest)))


def _lines(install: Iterable[Mapping[str, Any]]) -> Iterable[tuple[str, str]]:
    for each in install:
        name = _canonical(each["metadata"]["name"])
        if name not in UNHASHED:
            version, hashes = each["metadata"]["version"], each["download_info"]["archive_info"]["hashes"]
            yield name, f"{name}=={version} --hash=sha256:{hashes['sha256']}"


def _first(file: Path) -> str:
    return _canonical(file.read_text(encoding="utf-8").split("==")[0])


def _canonical(name: str) -> str:
    return name.strip().lower().replace("_", "-").replace(".", "-")


def resolved(library: str) -> dict[str, Any]:
    """pip's report on what it would install, nothing of which it does."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        wanted = ["-r", str(HERE / library / "requirements.in"), str(ROOT)]
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
        subprocess.run([*command, "--report", str(report), *wanted], check=True, cwd=folder)
        found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
        return found


def main(libraries: list[str]) -> int:
    """Write the file of each library that is named."""
    for library in libraries:
        text = pinned(library, resolved(library))
        target = HERE / library / "requirements.txt"
        target.write_text(text, encoding="utf-8", newline="\n")
        print(f"{target}: {len(text.splitlines()) - 1} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

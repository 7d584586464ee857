"""Ask git about a folder."""

from __future__ import annotations

import subprocess
from pathlib import Path


def git(folder: Path, *arguments: str, errors: str = "surrogateescape") -> str | None:
    """What ``git ARGUMENTS`` prints in a folder; None if it fails or git is missing. ``errors``: as in ``decode``."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, encoding="utf-8", errors=errors, check=False
        )
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None

"""The folder that peft reads and writes: ``adapter_config.json`` and ``adapter_model.safetensors``.

A pickle (``adapter_model.bin``) is never opened: reading one can run any code.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from variants.runtime.errors import AdapterError

CONFIG = "adapter_config.json"
TENSORS = "adapter_model.safetensors"
PICKLE = "adapter_model.bin"


def as_path(path: Any, where: str) -> Path:
    """The argument as a path, or ``AdapterError``."""
    try:
        return Path(path)
    except TypeError as error:
        raise AdapterError(got=repr(path), want="a folder", where=where, fix="Pass a string or a Path.") from error


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The fields of the config and the tensors by peft's keys. Raises ``AdapterError``: missing or damaged files."""
    where = f"import {folder}"
    if not (folder / CONFIG).is_file():
        below = sorted(path.parent.name for path in folder.glob(f"*/{CONFIG}")) if folder.is_dir() else []
        fix = f"Pass one of its subfolders: {', '.join(below)}." if below else "Pass what peft's save_pretrained wrote."
        raise AdapterError(got=f"no {CONFIG}", want="a local folder with one", where=where, fix=fix)
    fields = _fields(folder / CONFIG, where)
    if not (folder / TENSORS).is_file():
        pickled = (folder / PICKLE).exists()
        raise AdapterError(
            got=f"{PICKLE}, a pickle, which can run any code when it is read" if pickled else f"no {TENSORS}",
            want=TENSORS,
            where=where,
            fix="Save it again from peft with save_pretrained(..., safe_serialization=True), which is the default.",
        )
    try:
        return fields, safetensors.torch.load((folder / TENSORS).read_bytes())
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        fix = "The file is damaged: save or copy it again."
        raise AdapterError(got=f"{TENSORS}: {error}", want="a readable one", where=where, fix=fix) from error


def write(folder: Path, fields: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Put both files into ``folder``, which is made if it is not there. Other files in it stay.

    Everything is written to a temporary folder first. A new folder is then there whole or not at all. In an old one
    the two files are replaced, the config last and after the old config is gone, so that a kill in between leaves a
    folder that nobody can load, and never old tensors under a new config. An error puts the old files back.
    """
    where = f"export {folder}"
    made: list[Path] = []
    try:
        # Within an old folder, which may be on another file system than the folder around it.
        around = folder if folder.exists() else folder.parent
        temporary = around / f".adapter-export-{secrets.token_hex(8)}"
        text = json.dumps(fields, indent=2, sort_keys=True, allow_nan=False)
        contents = safetensors.torch.save(tensors, {"format": "pt"})
        try:
            _make_parents(folder.parent, made)
            temporary.mkdir()
            _write_through(temporary / CONFIG, text.encode())
            _write_through(temporary / TENSORS, contents)
            if around is folder:
                _replace(folder, temporary)
            else:
                os.rename(temporary, folder)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            for parent in reversed(made):
                with contextlib.suppress(OSError):
                    parent.rmdir()
            raise
        shutil.rmtree(temporary, ignore_errors=True)
    except (OSError, ValueError) as error:
        raise AdapterError(
            got=error,
            want="a folder where files can be written",
            where=where,
            fix="Fix the cause or choose another folder; what was there before is still whole.",
        ) from error


def _fields(path: Path, where: str) -> dict[str, Any]:
    try:
        fields = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        fix = "The file is damaged: save or copy it again."
        raise AdapterError(got=f"{CONFIG}: {error}", want="readable JSON", where=where, fix=fix) from error
    if not isinstance(fields, dict):
        got = f"{CONFIG} with a {type(fields).__name__}"
        raise AdapterError(got=got, want="a JSON object", where=where, fix="Pass what peft's save_pretrained wrote.")
    return fields


def _replace(folder: Path, temporary: Path) -> None:
    """Move the new files in; the old ones wait in ``temporary`` until both are."""
    kept: list[str] = []
    try:
        for name in (CONFIG, TENSORS):
            if (folder / name).exists():
                os.replace(folder / name, temporary / f"old-{name}")
                kept.append(name)
        os.replace(temporary / TENSORS, folder / TENSORS)
        os.replace(temporary / CONFIG, folder / CONFIG)
    except BaseException:
        for name in (TENSORS, CONFIG):
            with contextlib.suppress(OSError):
                if name in kept:
                    os.replace(temporary / f"old-{name}", folder / name)
                elif not (temporary / name).exists():
                    (folder / name).unlink()
        raise


def _make_parents(folder: Path, made: list[Path]) -> None:
    for each in [*reversed(folder.parents), folder]:
        if not each.exists():
            each.mkdir()
            made.append(each)


def _write_through(path: Path, contents: bytes) -> None:
    with open(path, "xb") as file:
        file.write(contents)
        file.flush()
        os.fsync(file.fileno())

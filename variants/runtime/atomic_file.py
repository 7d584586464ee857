"""A safetensors file that is there whole or not at all, and that shows any change of a bit.

The header's metadata hold a digest: SHA-256 of the whole file with 64 zeros in the digest's own place. It tells damage,
not who wrote the file. Nothing is ever unpickled.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from variants.runtime.errors import AdapterError

FORMAT = "2"
ZEROS = "0" * 64
DIGEST = re.compile(r"[0-9a-f]{64}")
LEFTOVER = re.compile(r"\.adapter-saving-[0-9a-f]{16}")
PICKLED = (b"PK", b"\x80")
"""How a file from ``torch.save`` begins, zipped or not."""
OF_PEFT = "base_model.model."
"""How the keys in peft's files begin."""
LEFT_FOR_SECONDS = 3600.0
"""A temporary file that nobody has written to for so long belongs to a save that was killed."""


def write_whole(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write ``tensors`` and ``metadata`` to ``path``, which holds the old file or the new one at every moment.

    The new file is written beside ``path``, brought to the disk, and renamed. A save that is killed can leave its
    ``.adapter-saving-*`` behind; a later save into the same folder removes it. Of two saves at once the last to finish
    stays. Raises ``AdapterError`` where the file cannot be written; ``path`` is then as it was.
    """
    try:
        contents = to_bytes(tensors, metadata)
    except UnicodeEncodeError as error:
        fix = "Give the adapter, and the modules it sits on, names without lone surrogates."
        raise AdapterError(got=error, want="names that UTF-8 can hold", where=f"save {path}", fix=fix) from error
    if not path.parent.is_dir() and "\0" not in str(path):
        fix = "Create it, or choose another path."
        raise AdapterError(got=f"there is no folder {path.parent}", where=f"save {path}", fix=fix)
    temporary = path.parent / f".adapter-saving-{secrets.token_hex(8)}"
    try:
        try:
            with open(temporary, "xb") as file:
                _remove_leftovers(path.parent, now=os.fstat(file.fileno()).st_mtime)
                file.write(contents)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:  # KeyboardInterrupt, too
            with contextlib.suppress(OSError, ValueError):
                temporary.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        raise AdapterError(
            got=error,
            want="a place where a file can be written",
            where=f"save {path}",
            fix="Fix the cause or choose another path; a file that was there before is still whole.",
        ) from error
    _sync_folder(path.parent)


def read_whole(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of a file from ``write_whole``; ``AdapterError`` for any other file.

    The bytes that are verified are those that are used: the file is read once.
    """
    if not path.exists() and path.parent.is_dir() and "\0" not in str(path):
        fix = "Check the path, and the folder you are in."
        raise AdapterError(got="there is no file of this name", where=f"load {path}", fix=fix)
    if (path / "adapter_config.json").is_file():
        raise _of_peft(path, path)
    if path.is_dir():
        fix = "Pass the path of a file that save() wrote."
        raise AdapterError(got="this is a folder", where=f"load {path}", fix=fix)
    try:
        if path.exists() and not path.is_file():
            raise OSError("not a regular file")
        contents = path.read_bytes()
        header = _header(contents)
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(path, error) from error
    metadata = header.get("__metadata__", {})
    if any(key.startswith(OF_PEFT) for key in header):
        raise _of_peft(path, path.parent)
    found = metadata.get("format") if isinstance(metadata, dict) else None
    if found is None:
        got, fix = "the file was not written by save(): no format in its metadata", "Pass a file that save() wrote."
        raise AdapterError(got=got, where=f"load {path}", fix=fix)
    if found != FORMAT:
        raise _error(path, f"format {found}", f"format {FORMAT}", "Load it with the version that wrote it.")
    want = metadata.get("digest")
    want = want if isinstance(want, str) and DIGEST.fullmatch(want) else "none"
    if (got := digest(contents, want)) != want:
        fix = "The file is damaged: save or copy it again."
        raise _error(path, f"contents with digest {got[:12]}", f"the digest in its metadata, {want[:12]}", fix)
    try:
        return metadata, safetensors.torch.load(contents)
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise _unreadable(path, error) from error


def to_bytes(tensors: dict[str, Tensor], metadata: dict[str, str]) -> bytes:
    """The bytes of the file; equal arguments give equal bytes."""
    plain = safetensors.torch.save(tensors)
    header, body = _header(plain), plain[8 + int.from_bytes(plain[:8], "little") :]
    header["__metadata__"] = {"format": FORMAT, **metadata, "digest": ZEROS}
    text = json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # the format wants the tensors aligned
    draft = len(text).to_bytes(8, "little") + text + body
    return draft.replace(_entry(ZEROS), _entry(digest(draft, ZEROS)), 1)


def digest(contents: bytes, claimed: str) -> str:
    """The digest the file should claim, in hexadecimal. Quotes within JSON strings are escaped: the entry is unique."""
    return hashlib.sha256(contents.replace(_entry(claimed), _entry(ZEROS), 1)).hexdigest()


def _entry(value: str) -> bytes:
    return f'"digest":"{value}"'.encode()


def _header(contents: bytes) -> dict[str, Any]:
    """The JSON object at the start, no key of which may stand twice (the last one would win in silence)."""
    length = int.from_bytes(contents[:8], "little")
    if len(contents) < 8 + length:
        raise ValueError(f"{len(contents)} bytes, and the header would end at {8 + length}")
    header = json.loads(contents[8 : 8 + length].decode(), object_pairs_hook=_without_duplicates)
    if not isinstance(header, dict):
        raise ValueError("a header that is no JSON object")
    return header


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        raise ValueError(f"the key {next(k for k in keys if keys.count(k) > 1)!r} twice in the header")
    return dict(pairs)


def _remove_leftovers(folder: Path, now: float) -> None:
    """``now`` is by the clock of the file system, which may not be that of this machine."""
    for name in _names_in(folder):
        each = folder / name
        with contextlib.suppress(OSError):  # housekeeping: no reason to fail a save
            if LEFTOVER.fullmatch(name) and now - each.lstat().st_mtime > LEFT_FOR_SECONDS:
                each.unlink()


def _names_in(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:  # one may write to a folder that one may not list
        return []


def _sync_folder(folder: Path) -> None:
    """Bring the new name to the disk as well. Not every system can; the file behind either name is whole."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _of_peft(path: Path, folder: Path) -> AdapterError:
    fix = f"Call import_peft(model, {str(folder)!r})."
    return _error(path, "what peft's save_pretrained wrote", "an adapter written by save()", fix)


def _unreadable(path: Path, error: BaseException) -> AdapterError:
    if isinstance(error, OSError):
        return AdapterError(got=f"cannot read the file ({error})", where=f"load {path}", fix="Check the path.")
    with open(path, "rb") as file:
        pickled = file.read(2).startswith(PICKLED)
    if pickled:
        fix = "Pass a file that save() wrote. Pickles are not read: they can run any code."
        return AdapterError(got="this is a pickle (torch.save), no safetensors file", where=f"load {path}", fix=fix)
    fix = "Check the path. If it is right, the file is damaged: save or copy it again."
    return AdapterError(
        got=f"this is not a safetensors file, or not a whole one ({error})", where=f"load {path}", fix=fix
    )


def _error(path: Path, got: object, want: str, fix: str) -> AdapterError:
    return AdapterError(got=got, want=want, where=f"load {path}", fix=fix)

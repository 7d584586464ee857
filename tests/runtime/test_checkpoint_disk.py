"""A save that the system refuses or the user interrupts leaves the old file and nothing else."""

from __future__ import annotations

import builtins
import errno
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.runtime.models import Mlp, move, refused, small_config
from variants import attach, save


@pytest.fixture
def model() -> nn.Module:
    """With LoRA, moved since the file was written."""
    model = Mlp()
    attach(model, small_config("lora"))
    return model


@pytest.fixture
def path(model: nn.Module, tmp_path: Path) -> Path:
    """The old file."""
    path = tmp_path / "adapter.safetensors"
    save(model, path)
    move(model)
    return path


def failing(code: int, owner: Any, name: str) -> Callable[[pytest.MonkeyPatch], None]:
    """A system whose call fails with this error."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*args: object, **options: object) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(owner, name, fail)

    return patch


@pytest.mark.parametrize(
    ("break_system", "message"),
    [
        (failing(errno.EROFS, builtins, "open"), "Read-only file system"),
        (failing(errno.ENOSPC, builtins, "open"), "No space left"),
        (failing(errno.ENOSPC, os, "fsync"), "No space left"),
        (failing(errno.EIO, os, "fsync"), "Input/output error"),
        (failing(errno.EACCES, os, "replace"), "Permission denied"),
    ],
)
def test_system_that_refuses(
    break_system: Callable[[pytest.MonkeyPatch], None], message: str, model: nn.Module, path: Path
) -> None:
    """Otherwise a full or read-only disk would cost the old file, leave half a new one, or be an error of its own."""
    old = path.read_bytes()
    with pytest.MonkeyPatch.context() as monkeypatch, refused(model, message):
        break_system(monkeypatch)
        save(model, path)
    assert path.read_bytes() == old
    assert list(path.parent.iterdir()) == [path]


def test_disk_that_fills_up(model: nn.Module, path: Path) -> None:
    """Otherwise a write that stops in the middle, which the above only pretend, would leave its half."""
    resource = pytest.importorskip("resource")
    old = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(old) // 2, hard))
        with pytest.raises(ValueError, match="File too large") as caught:
            save(model, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert isinstance(caught.value.__cause__, OSError)
    assert path.read_bytes() == old
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("place", ["folder", "missing/adapter", "file/adapter", "x" * 300, "nul\0", ""])
def test_path_where_nothing_can_be_written(place: str, model: nn.Module, tmp_path: Path) -> None:
    """Otherwise a wrong path would be an error of the system, or leave something beside it."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"text")
    with refused(model, r"save .*: (got .*; want a place where a file can be written|there is no folder .*\. Create)"):
        save(model, tmp_path / place)
    assert sorted(each.name for each in tmp_path.rglob("*")) == ["file", "folder"]


def test_folder_that_may_not_be_written(model: nn.Module, tmp_path: Path) -> None:
    """Otherwise the real refusal, which root does not get, would differ from the pretended ones."""
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o500)
    if os.access(folder, os.W_OK):
        pytest.skip("this user may write anywhere")
    with refused(model, "Permission denied"):
        save(model, folder / "adapter")


def test_interrupt(model: nn.Module, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise Ctrl-C during a save would leave a temporary file, or be swallowed."""
    old = path.read_bytes()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save(model, path)
    assert path.read_bytes() == old
    assert list(path.parent.iterdir()) == [path]


def test_order_of_reaching_the_disk(model: nn.Module, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise after a power cut the name could point to a file whose bytes never arrived, or still to the old one."""
    steps: list[str] = []
    sync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        status = os.fstat(descriptor)
        folder = status.st_ino == path.parent.stat().st_ino
        steps.append("folder" if folder else f"{status.st_size} bytes")
        sync(descriptor)

    def replaced(source: Path, target: Path) -> None:
        steps.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    save(model, path)
    assert steps == [f"{path.stat().st_size} bytes", "replace", "folder"]


def test_folder_that_cannot_be_synced(model: nn.Module, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a save that succeeded would be reported as failed on systems that cannot sync a folder."""
    old = path.read_bytes()
    failing(errno.EINVAL, os, "open")(monkeypatch)
    save(model, path)
    assert path.read_bytes() != old


def test_leftovers_are_removed(model: nn.Module, path: Path) -> None:
    """Otherwise killed saves would fill the disk; or a save would take another's file from under it, or the user's."""
    folder = path.parent
    stale, fresh = (folder / f".adapter-saving-{digit * 16}" for digit in "ab")
    others = [folder / ".adapter-saving-mine", folder / "adapter-saving-0000000000000000", folder / ".hidden"]
    for each in (stale, fresh, *others):
        each.write_bytes(b"half")
    two_hours_ago = path.stat().st_mtime - 7200
    for each in (stale, *others):
        os.utime(each, (two_hours_ago, two_hours_ago))
    in_the_way = folder / f".adapter-saving-{'c' * 16}"
    in_the_way.mkdir()
    os.utime(in_the_way, (two_hours_ago, two_hours_ago))
    save(model, path)
    assert sorted(folder.iterdir()) == sorted([path, fresh, in_the_way, *others])


def test_permissions_are_the_users(model: nn.Module, path: Path) -> None:
    """Otherwise a colleague could not read the file, as with temporary files that only their owner may open."""
    umask = os.umask(0o027)
    try:
        save(model, path)
    finally:
        os.umask(umask)
    assert oct(path.stat().st_mode & 0o777) == oct(0o640)


def test_link(model: nn.Module, path: Path) -> None:
    """Otherwise ``latest -> step_100`` would overwrite step 100: the link gives way, what it pointed to stays."""
    old, link = path.read_bytes(), path.parent / "latest"
    link.symlink_to(path)
    save(model, link)
    assert path.read_bytes() == old
    assert link.read_bytes() != old
    assert not link.is_symlink()


def test_path_that_is_none(model: nn.Module) -> None:
    """Otherwise a number or None for a path would be a TypeError from deep inside."""
    for wrong in (None, 5, ["adapter"]):
        with refused(model, re.escape(f"save: got {wrong!r}; want a path")):
            save(model, wrong)  # type: ignore[arg-type]


def test_adapter_on_meta(model: nn.Module, path: Path) -> None:
    """Otherwise an adapter that was moved to meta with its model would be saved as nothing."""
    old = path.read_bytes()
    model.to(torch.device("meta"))
    with refused(model, r"save .*: got up\.A, up\.B, down\.A, down\.B on meta; want values"):
        save(model, path)
    assert path.read_bytes() == old

"""No damage to a saved file, wherever it lies, gets past load or changes the model."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn

from tests.runtime.models import Mlp, move, refused, small_config, snapshot
from variants import AdapterError, attach, load, save
from variants.runtime.atomic_file import digest

METHODS = ("lora", "pissa", "antipasto")
"""One that leaves the weight alone, one with tensors for the file only, one with buffers."""


@pytest.fixture
def base() -> nn.Module:
    """What the file was saved with; flags mixed, so that a reset shows."""
    model = Mlp()
    model.up.bias.requires_grad_(False)
    return model


@pytest.fixture
def path(base: nn.Module, tmp_path: Path) -> Path:
    """A good file of LoRA with no tensor at zero, where zeroing would be no damage."""
    return saved(base, "lora", tmp_path / "adapter")


def saved(base: nn.Module, name: str, path: Path) -> Path:
    """A good file of the named method."""
    model = copy.deepcopy(base)
    attach(model, small_config(name))
    move(model)
    save(model, path)
    return path


def regions(contents: bytes) -> dict[str, tuple[int, int]]:
    """Every part of the file by name: first byte, and the one after the last."""
    start = 8 + int.from_bytes(contents[:8], "little")
    header = json.loads(contents[8:start])
    found = {"length": (0, 8), "header": (8, start)}
    for key, value in header.pop("__metadata__").items():
        at = contents.index(f"{json.dumps(key)}:{json.dumps(value)}".encode())
        found[f"metadata {key}"] = (at, at + len(f"{json.dumps(key)}:{json.dumps(value)}"))
    for key, entry in header.items():
        at = contents.index(f'"{key}":{{"data'.encode())
        found[f"table {key}"] = (at, contents.index(b"}", at) + 1)
        first, last = entry["data_offsets"]
        found[f"tensor {key}"] = (start + first, start + last)
    assert max(end for _, end in found.values()) == len(contents), "a part of the file has no name"
    return found


def damages(whole: bytes, first: int, last: int, chance: random.Random) -> Iterator[bytes]:
    """What can go wrong with the bytes from ``first`` to ``last``."""
    part = whole[first:last]
    for _ in range(16):  # flipped bits
        at = chance.randrange(first, last)
        yield whole[:at] + bytes([whole[at] ^ 1 << chance.randrange(8)]) + whole[at + 1 :]
    for _ in range(6):  # runs of zeros, of ones, of noise
        at = chance.randrange(first, last)
        run = chance.randint(1, last - at)
        for filler in (bytes(run), b"\xff" * run, chance.randbytes(run)):
            yield whole[:at] + filler + whole[at + run :]
    yield from (whole[:first], whole[: (first + last) // 2], whole[: last - 1])  # the file ends here
    yield whole[:first] + whole[last:]  # lost, repeated, backwards
    yield whole[:last] + part + whole[last:]
    yield whole[:first] + part[::-1] + whole[last:]
    yield whole[:first] + b"\0" + whole[first:]  # shifted by one byte
    yield whole[:first] + part[1:] + whole[last:]


@pytest.mark.parametrize("name", METHODS)
def test_damage_in_every_region(name: str, base: nn.Module, tmp_path: Path) -> None:
    """Otherwise some part of the file could be damaged and what is left be trained on, or a failed load change W."""
    path = saved(base, name, tmp_path / "adapter")
    whole, before, tried = path.read_bytes(), snapshot(base), 0
    chance = random.Random(name)
    for region, (first, last) in regions(whole).items():
        here = {each for each in damages(whole, first, last, chance) if each != whole}
        assert len(here) >= 20, region
        for each in here:
            path.write_bytes(each)
            with pytest.raises(AdapterError, match=r"load .*adapter: "):
                load(base, path)
            assert snapshot(base) == before, region
        tried += len(here)
    assert tried >= 500
    path.write_bytes(whole)
    load(base, path)


def test_every_length(base: nn.Module, path: Path) -> None:
    """Otherwise there would be a place where a copy can stop and its part pass for the whole."""
    whole, before = path.read_bytes(), snapshot(base)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(AdapterError):
            load(base, path)
    assert snapshot(base) == before


def parts(contents: bytes) -> tuple[dict[str, object], bytes]:
    """Header and tensors' bytes."""
    start = 8 + int.from_bytes(contents[:8], "little")
    return json.loads(contents[8:start]), contents[start:]


def packed(header: dict[str, object] | str, body: bytes) -> bytes:
    """A safetensors file, its length recomputed."""
    text = (header if isinstance(header, str) else json.dumps(header, separators=(",", ":"))).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + body


def signed(contents: bytes) -> bytes:
    """The same file with the digest that belongs to it."""
    found = re.search(rb'"digest":"([0-9a-f]{64})"', contents)
    assert found, "no digest to renew"
    return contents.replace(found[1], digest(contents, found[1].decode()).encode(), 1)


def swapped(contents: bytes) -> bytes:
    """The places of two tensors exchanged in the table: other values, a header without a fault."""
    header, body = parts(contents)
    header["up.B"], header["down.A"] = header["down.A"], header["up.B"]
    return packed(header, body)


def renamed(contents: bytes) -> bytes:
    """A tensor under another name."""
    header, body = parts(contents)
    header["up.C"] = header.pop("up.A")
    return packed(header, body)


def overlapping(contents: bytes) -> bytes:
    """Two tensors on the same bytes."""
    header, body = parts(contents)
    header["up.A"]["data_offsets"] = header["down.A"]["data_offsets"]  # type: ignore[index]
    return packed(header, body)


def unknown_dtype(contents: bytes) -> bytes:
    """A dtype of a later format."""
    header, body = parts(contents)
    header["up.A"]["dtype"] = "F6_E9M9"  # type: ignore[index]
    return packed(header, body)


def text_with(old: str, new: str) -> Callable[[bytes], bytes]:
    """The header's text changed, its length recomputed."""

    def change(contents: bytes) -> bytes:
        start = 8 + int.from_bytes(contents[:8], "little")
        text = contents[8:start].decode().rstrip()
        assert old in text
        return packed(text.replace(old, new, 1), contents[start:])

    return change


STRUCTURAL: dict[str, Callable[[bytes], bytes]] = {
    "swapped tensors": swapped,
    "renamed tensor": renamed,
    "overlapping tensors": overlapping,
    "unknown dtype": unknown_dtype,
    "two files": lambda c: c + c,
    "two files, half of the second": lambda c: c + c[: len(c) // 2],
    "one byte more": lambda c: c + b"\0",
    "a page of zeros more": lambda c: c + bytes(4096),
    "header of 2^63 bytes": lambda c: (2**63).to_bytes(8, "little") + c[8:],
    "header of 2^64 - 1 bytes": lambda c: b"\xff" * 8 + c[8:],
    "header of the whole file": lambda c: (len(c) - 8).to_bytes(8, "little") + c[8:],
    "header of nothing": lambda c: bytes(8) + c[8:],
    "metadata key twice": text_with('"format":', '"format":"9","format":'),
    "metadata twice": text_with('"__metadata__":', '"__metadata__":{"format":"2"},"__metadata__":'),
    "tensor twice": text_with('"up.A":', '"up.A":{"dtype":"F32","shape":[2,6],"data_offsets":[0,48]},"up.A":'),
    "key twice in an entry": text_with('"dtype":"F32"', '"dtype":"F16","dtype":"F32"'),
    "deep nesting": lambda c: packed("[" * 50_000, b""),
    "a list": lambda c: packed("[1, 2]", b""),
    "a number of 5000 digits": lambda c: packed("9" * 5000, b""),
    "UTF-16": lambda c: len('{"a":1}'.encode("utf-16")).to_bytes(8, "little") + '{"a":1}'.encode("utf-16"),
    "metadata that is a list": lambda c: packed({"__metadata__": [1]}, b""),
    "metadata that is no text": text_with('"name":"lora"', '"name":5'),
    "a lone surrogate for a digest": lambda c: re.sub(rb'"digest":"[0-9a-f]{64}"', b'"digest":"\\\\ud800"', c),
    "a pickle": lambda c: b"\x80\x04cos\nsystem\n(S'echo'\ntR." + c,
    "a zip archive, as torch.save makes": lambda c: b"PK\x03\x04" + c,
}
SIGNED = (
    "renamed tensor",
    "overlapping tensors",
    "unknown dtype",
    "swapped tensors",
    "two files",
    "one byte more",
    "a page of zeros more",
    "metadata key twice",
    "metadata twice",
    "tensor twice",
    "key twice in an entry",
    "metadata that is no text",
)


@pytest.mark.parametrize("kind", STRUCTURAL)
def test_wrong_structure(kind: str, base: nn.Module, path: Path) -> None:
    """Otherwise a file that was put together wrongly would load as something, or end in another error."""
    path.write_bytes(STRUCTURAL[kind](path.read_bytes()))
    with refused(base, r"load .*adapter: "):
        load(base, path)


@pytest.mark.parametrize("kind", SIGNED)
def test_wrong_structure_with_the_right_digest(kind: str, base: nn.Module, path: Path) -> None:
    """Otherwise all of the above would rest on the digest, and a file that somebody put together and signed load."""
    path.write_bytes(signed(STRUCTURAL[kind](path.read_bytes())))
    with refused(base, r"load .*adapter: (?!got contents with digest)"):
        load(base, path)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_not_finite(value: float, base: nn.Module, path: Path) -> None:
    """Otherwise training that diverged would replace the last good file, or turn a good base into NaN."""
    good = path.read_bytes()
    header, body = parts(good)
    first, last = header["up.B"]["data_offsets"]  # type: ignore[index]
    bits = torch.full(((last - first) // 4,), value).numpy().tobytes()
    path.write_bytes(signed(packed(header, body[:first] + bits + body[last:])))
    with refused(base, r"load .*: got NaN or infinity in up\.B; want finite values"):
        load(base, path)

    path.write_bytes(good)
    model = copy.deepcopy(base)
    attachment = load(model, path)
    with torch.no_grad():
        attachment.tensors()["down.A"][1, 2] = value
    with refused(model, r"save .*: got NaN or infinity in down\.A; want finite values"):
        save(model, path)
    assert path.read_bytes() == good


def test_equal_adapters_give_equal_files(base: nn.Module, tmp_path: Path) -> None:
    """Otherwise files could not be compared, and nobody could tell which of two saves is there."""
    model = copy.deepcopy(base)
    attach(model, small_config("lora"))
    save(model, tmp_path / "one")
    save(model, tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    with safe_open(tmp_path / "one", "pt") as file:  # any reader of the format can
        assert set(file.keys()) == {"up.A", "up.B", "down.A", "down.B"}

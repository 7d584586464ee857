"""The golden vectors of the SVD-steering family, put on an attached variant and compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from refs.golden_vectors import Vector, vectors
from variants import Targets, attach, by_name
from variants.runtime.adapter import Adapter

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
UNRESOLVED = 1e-9
"""Part of the scale below which a distance says nothing: recorded distances of gradients are to central differences."""

PATTERNS = (1, 2, 3, 4)
"""Patterns of signs in which the given numbers are moved: one alone may cancel, by chance."""


def recorded(variant: str) -> list[Vector]:
    """Every vector of one variant of the family."""
    return [v for v in vectors("antipasto_family") if v.variant == variant]


def id_of(vector: Vector) -> str:
    """For pytest: the file's name without what all of them share."""
    return vector.file.rpartition("/")[2].removesuffix(".safetensors").removeprefix("antipasto_")


def attached(vector: Vector, dtype: torch.dtype, **options: Any) -> tuple[nn.Sequential, Adapter]:
    """The recorded layer with the variant on it as it starts, from the recorded calibration rows."""
    t = vector.tensors
    layer = nn.Linear(t["W"].shape[1], t["W"].shape[0], bias="bias" in t).to(dtype)
    with torch.no_grad():
        layer.weight.copy_(t["W"])
        if "bias" in t:
            layer.bias.copy_(t["bias"])
    Config = by_name(vector.variant).Config
    known = {field.name for field in dataclasses.fields(Config)} - {"dtype"}
    options = {**{k: v for k, v in vector.config.items() if k in known}, "dtype": dtype, **options}
    model = nn.Sequential(layer)
    attachment = attach(model, Config(targets=Targets(), **options), calibration=calibration(vector, dtype))
    return model, attachment.layers["0"]


def calibration(vector: Vector, dtype: torch.dtype) -> list[Tensor] | None:
    """The calibration rows that the authors' code counted (only corda looks at the mask), in batches."""
    rows = vector.tensors.get("calib_X")
    if rows is None:
        return None
    if "calib_mask" in vector.tensors and vector.variant == "antipasto_corda":
        rows = rows[vector.tensors["calib_mask"] != 0]
    return list(rows.to(dtype).split(17))


def run(vector: Vector, names: Mapping[str, str], dtype: torch.dtype, moved: int = 0) -> dict[str, Tensor]:
    """Outputs and gradients under the recorded names, with every recorded tensor loaded, W_res too.

    ``names``: the variant's tensors by the recorded names. ``moved``: the pattern of signs by which each given number
    is moved by one spacing of the recorded dtype; 0 for the numbers as they are.
    """
    t = _moved(vector, moved) if moved else vector.tensors
    model, adapter = attached(vector, dtype)
    own = adapter.state_dict()
    assert set(own) == set(names.values())
    with torch.no_grad():
        for there, here in names.items():
            own[here].copy_(t[there])
        model[0].weight.copy_(t["W_res"])
    x = t["x"].to(dtype, copy=True).requires_grad_()
    y = model(x)
    (y * t["g"].to(dtype)).sum().backward()
    with torch.no_grad():
        W_eff = (model(torch.eye(model[0].in_features, dtype=dtype)) - model(torch.zeros_like(x[..., :1, :])[0])).T
    grads = {f"grad.{there}": getattr(adapter, here).grad for there, here in names.items() if f"grad.{there}" in t}
    return {"y": y.detach(), "W_eff": W_eff, "grad.x": x.grad, **grads}


def _moved(vector: Vector, pattern: int) -> dict[str, Tensor]:
    """The tensors in float64, each number larger or smaller by one spacing of the recorded dtype.

    Whole numbers stay: they are exact in every dtype, and may be the edge of a clamp, where a gradient jumps.
    """
    drawn = torch.Generator().manual_seed(pattern)
    eps = torch.finfo(DTYPES[vector.dtype]).eps
    moved = {}
    for name, tensor in vector.tensors.items():
        signs = 2 * torch.randint(0, 2, tensor.shape, generator=drawn) - 1
        wide = tensor.double()
        moved[name] = torch.where(wide == wide.round(), wide, wide * (1 + eps * signs))
    return moved


def assert_reproduced(vector: Vector, names: Mapping[str, str]) -> None:
    """In float64 the variant is as far from the recorded numbers as the manifest's own evaluation of the formula was.

    In the recorded dtype it is about as exact as the recorded numbers are, or as the formula is where each number given
    is rounded, and keeps the dtype.
    """
    exact = run(vector, names, torch.float64)
    nearby = [run(vector, names, torch.float64, pattern) for pattern in PATTERNS]
    dtype = DTYPES[vector.dtype]
    rounded = run(vector, names, dtype)
    expected = {"y", "W_eff"} | {name for name in vector.tensors if name.startswith("grad.")}
    assert set(exact) == expected
    for name in expected:
        want, scale = vector.tensors[name], vector.tensors[name].double().abs().max().item()
        theirs = vector.verification[name]["max_abs"]
        distance = (exact[name] - want).abs().max().item()
        assert distance <= 1.001 * theirs + UNRESOLVED * scale, f"{name}: {distance} in float64, recorded {theirs}"
        assert rounded[name].dtype == want.dtype
        error = (rounded[name] - exact[name]).abs().max().item()
        sensitivity = max((other[name] - exact[name]).abs().max().item() for other in nearby)
        limit = 2 * theirs + 8 * torch.finfo(dtype).eps * scale + 2 * sensitivity
        assert error <= limit, f"{name}: error {error} in {dtype}, limit {limit}"


def assert_same_start(vector: Vector, right: str = "Vh") -> None:
    """The factors are the recorded ones up to the sign of each direction, and so is what is left of the weight."""
    model, adapter = attached(vector, DTYPES[vector.dtype])
    t = {name: tensor.double() for name, tensor in vector.tensors.items()}
    U, S, V = (adapter.state_dict()[name].double() for name in ("U", "S", right))
    eps = torch.finfo(DTYPES[vector.dtype]).eps
    torch.testing.assert_close(S, t["lora_S"], rtol=0, atol=16 * eps * S.max().item())
    # Each direction's part of the weight, u_i S_i v_i: signs drop out. A float32 SVD mixes directions of close S.
    got = torch.einsum("oi,i,ij->ioj", U, S, V)
    want = torch.einsum("oi,i,ij->ioj", t["lora_U"], t["lora_S"], t[f"lora_{right}"])
    atol = (256 if eps < 1e-3 else 4) * eps * t["W"].abs().max().item()
    torch.testing.assert_close(got, want, rtol=0, atol=atol)
    torch.testing.assert_close(model[0].weight.double(), t["W_res"], rtol=0, atol=atol)

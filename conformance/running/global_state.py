"""The process-wide settings that can decide a number: the same at the start of each case, restored after it."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.modules import module as modules

SEED = 20241129
"""Of the generators at the start of each case. Every draw that is compared is seeded again, right before it."""


CPU = torch.device("cpu")
_onednn: Any = torch.backends.mkldnn


@dataclass(frozen=True)
class Setting:
    """One setting: how to read it, how to write it, and its value at the start of each case."""

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], object]
    pinned: Any


def _deterministic() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def _flushes() -> bool:
    """Whether denormal numbers are flushed to zero: torch can set this and cannot tell."""
    return bool((torch.full((1,), 1e-310, dtype=torch.float64, device="cpu") * 1.0).item() == 0.0)


SETTINGS: tuple[Setting, ...] = (
    Setting("default dtype", torch.get_default_dtype, torch.set_default_dtype, torch.float32),
    Setting("default device", torch.get_default_device, lambda d: torch.set_default_device(_unless_cpu(d)), CPU),
    Setting("threads", torch.get_num_threads, torch.set_num_threads, 1),
    Setting(
        "matmul precision", lambda: _matmul_precision(), lambda pair: _set_matmul_precision(*pair), ("highest", "ieee")
    ),
    Setting(
        "deterministic algorithms",
        _deterministic,
        lambda pair: torch.use_deterministic_algorithms(pair[0], warn_only=pair[1]),
        (False, False),
    ),
    Setting("gradients", torch.is_grad_enabled, torch.set_grad_enabled, True),
    Setting("anomaly detection", torch.is_anomaly_enabled, torch.set_anomaly_enabled, False),
    Setting("denormals flushed", _flushes, torch.set_flush_denormal, False),
    Setting("oneDNN", lambda: _onednn.enabled, lambda on: _onednn.set_flags(on), True),
    Setting(
        "autocast on the CPU",
        lambda: torch.is_autocast_enabled("cpu"),
        lambda on: torch.set_autocast_enabled("cpu", on),
        False,
    ),
    Setting(
        "autocast dtype",
        lambda: torch.get_autocast_dtype("cpu"),
        lambda dtype: torch.set_autocast_dtype("cpu", dtype),
        torch.bfloat16,
    ),
    Setting("autocast cache", torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled, True),
    Setting(
        "NumPy's floating-point errors", np.geterr, lambda how: np.seterr(**how), dict.fromkeys(np.geterr(), "ignore")
    ),
)
"""Every setting that is pinned. A change of any of them by a caller, an entry or a subject reaches no other case."""

HOOKS = tuple(name for name, value in vars(modules).items() if name.startswith("_global_") and hasattr(value, "clear"))
"""torch's registries of hooks on every module: a subject that adds one would act in all cases after it."""


@contextmanager
def pinned() -> Iterator[None]:
    """Pin all of ``SETTINGS``, the generators, the warning filters and the global hooks; restore them on leaving."""
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(warnings.catch_warnings())
        stack.callback(_restore, {setting.name: setting.read() for setting in SETTINGS}, _generators(), _hooks())
        for setting in SETTINGS:
            if setting.read() != setting.pinned:
                setting.write(setting.pinned)
        warnings.simplefilter("ignore")
        for name in HOOKS:
            getattr(modules, name).clear()
        random.seed(SEED)
        np.random.seed(SEED)
        torch.default_generator.manual_seed(SEED)
        yield


def _restore(before: dict[str, Any], generators: tuple[Any, ...], hooks: dict[str, dict[Any, Any]]) -> None:
    for setting in SETTINGS:
        if setting.read() != before[setting.name]:
            setting.write(before[setting.name])
    random.setstate(generators[0])
    np.random.set_state(generators[1])
    torch.set_rng_state(generators[2])
    for name, kept in hooks.items():
        registry = getattr(modules, name)
        registry.clear()
        registry.update(kept)


def _generators() -> tuple[Any, ...]:
    return random.getstate(), np.random.get_state(), torch.get_rng_state()


def _hooks() -> dict[str, dict[Any, Any]]:
    return {name: dict(getattr(modules, name)) for name in HOOKS}


def _unless_cpu(device: torch.device) -> torch.device | None:
    """None takes torch's own default back; a default set to the CPU costs time in every call."""
    return None if device == CPU else device


def _matmul_precision() -> tuple[str, str]:
    """Of both interfaces of torch. The older one raises an error after a call of the newer one."""
    try:
        older = torch.get_float32_matmul_precision()
    except RuntimeError:
        older = "highest"
    return older, str(_onednn.matmul.fp32_precision)


def _set_matmul_precision(older: str, newer: str) -> None:
    torch.set_float32_matmul_precision(older)
    _onednn.matmul.fp32_precision = newer

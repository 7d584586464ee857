"""What a run is asked to do, and the ids that tell runs apart."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.provenance import digest_of
from conformance.planning.names import BadRequest
from learning.options import parsed

if TYPE_CHECKING:
    from variants.runtime.config import AdapterConfig

BARE = "none"
"""The variant's name where no adapter is trained: the base's own score."""
DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The arguments of a run. Each is a column of the table."""

    variant: str
    model: Path
    train: Path
    test: Path
    seed: int = 0
    options: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    lr: float = 0.0
    steps: int = 1000
    batch: int = 32
    micro: int = 4
    warmup: float = 0.03
    weight_decay: float = 0.0
    clip: float = 1.0
    dtype: str = "bfloat16"
    checkpointing: bool = False
    train_size: int = 20000
    valid_size: int = 200
    test_size: int = 0
    kinds: str = ""
    data_seed: int = 0
    max_length: int = 512
    max_new: int = 300
    eval_batch: int = 32

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "micro", "train_size", "max_length", "max_new", "eval_batch"):
            if getattr(self, name) < 1:
                raise BadRequest(f"--{name.replace('_', '-')}: got {getattr(self, name)}, want at least 1.")
        for name in ("valid_size", "test_size", "weight_decay", "clip", "warmup"):
            if getattr(self, name) < 0:
                raise BadRequest(f"--{name.replace('_', '-')}: got {getattr(self, name)}, want at least 0.")
        if self.warmup > 1:
            raise BadRequest(f"--warmup: got {self.warmup:g}, want a share of the steps, at most 1.")
        if self.variant != BARE and not 0 < self.lr < float("inf"):
            raise BadRequest(f"--lr: got {self.lr:g}, want a learning rate above 0.")
        if self.dtype not in DTYPES:
            raise BadRequest(f"--dtype: got {self.dtype!r}, want one of {', '.join(DTYPES)}.")

    def config(self) -> AdapterConfig:
        """The variant's config. AdapterError for an option that it does not have, or a value that it does not take."""
        from variants import Targets, config_for

        return config_for(self.variant, targets=Targets(include=self.targets), **parsed(self.options))

    def text(self) -> dict[str, str]:
        """Every argument as the table has it."""
        found = {}
        for field in fields(self):
            value = getattr(self, field.name)
            found[field.name] = " ".join(value) if isinstance(value, tuple) else str(value)
        return found


def group_id(settings: Settings, data: dict[str, str]) -> str:
    """The same for runs that differ in nothing but their seed. ``data``: digests of model and files."""
    return f"{_readable(settings)}-{digest_of(_deciding(settings, data))[:6]}"


def run_id(settings: Settings, data: dict[str, str], commit: str) -> str:
    """Tells every two settings apart that could give another result, also by the options of the method and the code."""
    told = {**_deciding(settings, data), "seed": settings.seed, "commit": commit}
    return f"{_readable(settings)}-seed{settings.seed}-{digest_of(told)[:8]}"


def _deciding(settings: Settings, data: dict[str, str]) -> dict[str, Any]:
    plain = {key: value for key, value in asdict(settings).items() if key not in ("seed", "model", "train", "test")}
    config = None if settings.variant == BARE else settings.config().to_json()
    return {**plain, "options": None, "targets": None, "config": config, **data}


def _readable(settings: Settings) -> str:
    said = [f"{name}{value}" for name, value in sorted(parsed(settings.options).items())]
    return "-".join([settings.variant, *(re.sub(r"[^\w.+-]", "_", each) for each in said)])

"""Any sequence of calls on one model: each works or is refused without a trace, and detach gives the model back."""

from __future__ import annotations

import copy
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from torch import nn

from tests.fuzz.worlds import FEW, NAMES, ORDINARY, configs, models, works_or_refuses
from tests.runtime.models import move, snapshot
from variants import Targets, attach, attachments, detach, load, merge, save, unmerge
from variants.runtime.config import AdapterConfig

X = torch.randn(8, 8, generator=torch.Generator().manual_seed(1))
ADAPTERS = st.sampled_from((None, "one", "two"))
FILES = st.sampled_from(("a", "b"))
PLACES = st.lists(st.sampled_from(("a", "q_proj", "down", "0", "*", "tied")), min_size=1, max_size=2, unique=True)
NEED_NO_DATA = tuple(name for name in NAMES if name not in ("eva", "antipasto_corda"))


class Life(RuleBasedStateMachine):
    """One model, two names, two files."""

    model: nn.Module
    original: dict[str, object]

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.kept: dict[str, tuple[str, bytes]] = {}

    @initialize(model=models((*ORDINARY, "plain", "plain")))
    def begin(self, model: nn.Module) -> None:
        """A model to live with."""
        self.model = model.eval()
        self.original = snapshot(model)

    def call(self, act: Callable[[], object]) -> bool:
        """Whether it worked."""
        with works_or_refuses(self.model) as refusals:
            act()
        return not refusals

    @rule(config=configs(NEED_NO_DATA), places=PLACES, name=ADAPTERS)
    def attach(self, config: AdapterConfig, places: list[str], name: str | None) -> None:
        """Beside what is there, or not at all."""
        options = {field: getattr(config, field) for field in config.__dataclass_fields__}
        chosen = type(config)(**{**options, "targets": Targets(include=tuple(places))})
        there = set(attachments(self.model))
        if self.call(lambda: attach(self.model, chosen, name=name)):
            assert len(attachments(self.model)) == len(there) + 1
        else:
            assert set(attachments(self.model)) == there

    @rule(config=configs(NEED_NO_DATA), name=ADAPTERS)
    def attach_everywhere(self, config: AdapterConfig, name: str | None) -> None:
        """To all layers."""
        self.call(lambda: attach(self.model, config, name=name))

    @precondition(lambda self: attachments(self.model))
    @rule(name=ADAPTERS)
    def detach(self, name: str | None) -> None:
        """One or all."""
        there = set(attachments(self.model))
        worked = self.call(lambda: detach(self.model, name))
        assert worked == (name is None or name in there)
        if worked:
            assert set(attachments(self.model)) == (set() if name is None else there - {name})

    @precondition(lambda self: attachments(self.model))
    @rule(name=ADAPTERS, file=FILES)
    def save(self, name: str | None, file: str) -> None:
        """Whole, or the old one."""
        path = self.folder / file
        old = path.read_bytes() if path.exists() else None
        if not self.call(lambda: save(self.model, path, name)):
            assert (path.read_bytes() if path.exists() else None) == old

    @rule(name=ADAPTERS, file=FILES)
    def load(self, name: str | None, file: str) -> None:
        """If there is a file and room."""
        there = set(attachments(self.model))
        if self.call(lambda: load(self.model, self.folder / file, name=name)):
            assert len(attachments(self.model)) == len(there) + 1

    @precondition(lambda self: attachments(self.model))
    @rule(name=ADAPTERS)
    def merge(self, name: str | None) -> None:
        """Once."""
        if self.call(lambda: merge(self.model, name)):
            assert not self.call(lambda: merge(self.model, name))

    @precondition(lambda self: attachments(self.model))
    @rule(name=ADAPTERS)
    def unmerge(self, name: str | None) -> None:
        """If merged."""
        self.call(lambda: unmerge(self.model, name))

    @precondition(lambda self: attachments(self.model))
    @rule(coeff=st.sampled_from((0, -1.0, 2, None, "x", float("nan"))))
    def steer(self, coeff: Any) -> None:
        """Where there is something to steer."""
        for attachment in attachments(self.model).values():
            self.call(lambda: attachment.steer(coeff))  # noqa: B023 - called at once

    @rule()
    def train(self) -> None:
        """As a training step would."""
        if not any(each.merged for each in attachments(self.model).values()):
            torch.manual_seed(0)
            move(self.model)

    @rule(training=st.booleans())
    def switch(self, training: bool) -> None:
        """Mode."""
        self.model.train(training)
        assert all(m.training is training for m in self.model.modules())

    @rule()
    def run(self) -> None:
        """Shapes and dtypes stay."""
        for layer, y in zip((m for m in self.model.children() if isinstance(m, nn.Linear)), self.model(X)):
            assert (y.shape, y.dtype) == ((8, layer.out_features), layer.weight.dtype)

    @rule()
    def copied(self) -> None:
        """Go on with a copy, as after sending a model to another process; what was left behind must not matter."""
        self.model = copy.deepcopy(self.model)

    def teardown(self) -> None:
        """The model is what it was at the beginning."""
        shutil.rmtree(self.folder)
        if hasattr(self, "model"):
            if attachments(self.model):
                detach(self.model)
            assert snapshot(self.model.eval()) == self.original


TestLives = Life.TestCase
TestLives.settings = settings(FEW, max_examples=60, stateful_step_count=16)

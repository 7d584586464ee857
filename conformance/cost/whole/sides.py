"""The sides on a whole model: frozen, with a variant on every linear layer of its blocks, with peft's tuner there."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import nn

from conformance.cost.points import Point
from conformance.cost.subjects import MOVE, Contender, layer_at, peft_reference
from conformance.cost.whole.shapes import TARGETS, Shape, Way
from refs.settings import Settings

BATCHES = 4
"""Of the shape's batch each, for the methods that start from data."""


def settings_at(contender: Contender, shape: Shape) -> Settings:
    """What both sides are asked for."""
    return contender.settings(Point(shape.hidden, shape.sequences * shape.length, shape.rank))


def variant(contender: Contender, shape: Shape, way: Way) -> nn.Module | None:
    """The audited side, moved from its start; None for an entry that cannot be put on a whole model."""
    put = contender.entry.put
    if put is None:
        return None
    model = shape.model(way.dtype, way.device)
    data = [{"input_ids": shape.ids(way.device, seed)} for seed in range(1, BATCHES + 1)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        put(model, TARGETS, settings_at(contender, shape), data)
    return moved(model)


def peft(contender: Contender, shape: Shape, way: Way) -> nn.Module | None:
    """peft's same tuner, likewise; None for a method, or options, that peft lacks.

    Its config is the one that the reference builds for a single layer, with the targets of the whole model.
    """
    reference, settings = peft_reference(contender), settings_at(contender, shape)
    if reference is None or not reference.covers(settings):
        return None
    host: Any = reference.build(layer_at(Point(64, 1)), settings).host
    config = host.peft_config["default"]
    config.target_modules = set(TARGETS)
    if getattr(config, "feedforward_modules", None):
        config.feedforward_modules = set(TARGETS)
    import peft as library

    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        model: nn.Module = library.get_peft_model(shape.model(way.dtype, way.device), config)
    return moved(model.train())


def moved(model: nn.Module) -> nn.Module:
    """No time may depend on zeros."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                step = torch.randn(parameter.shape, generator=generator)
                parameter.add_(MOVE * step.to(parameter.device, parameter.dtype))
    return model

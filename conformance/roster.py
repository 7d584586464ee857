"""The variants of this repository as audit entries, one row each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from conformance.entry import Entry, Options
from refs.calibration import batches
from refs.reference import Method
from refs.registry import METHODS
from refs.settings import Settings
from refs.subject import AS_IS, Host, Subject
from variants import Targets, attach
from variants.registry import by_name
from variants.runtime.adapter import Adapter

ON_THE_LAYER = Targets(include=("layer",))


def attached(variant: type[Adapter], layer: nn.Linear, settings: Settings) -> Subject:
    """A variant of this repository as a subject: a real ``attach`` to a model of one layer."""
    options = {**dict(settings.options), **({} if settings.dtype is None else {"dtype": settings.dtype})}
    data = _batches(options.pop("calibration", None), layer)
    config = variant.Config(targets=ON_THE_LAYER, **options, **_sizes(variant, settings))
    host = Host(layer)
    attach(host, config, calibration=data, variant=variant)
    listed = variant.specs(config, layer.in_features, layer.out_features)
    # What is only kept for the file is no tensor of the layer.
    names = [name for name, spec in listed.items() if not spec.kept]
    return Subject(host, layer, {name: (f"layer.adapter.{name}", AS_IS) for name in names})


def _batches(kind: str | None, layer: nn.Linear) -> list[dict[str, Tensor]] | None:
    """Calibration as a user would pass it: batches of inputs, with the mask where there is padding."""
    if kind is None:
        return None
    made = batches(kind, layer.in_features, layer.weight.dtype)
    return [{"x": b.x} if b.mask is None else {"x": b.x, "attention_mask": b.mask} for b in made]


def stacked(
    variant: type[Adapter], layers: tuple[nn.Linear, nn.Linear], settings: Settings, both: bool
) -> dict[str, Tensor]:
    """Attach by calibration to two layers in a row, or to the second only; the second one's tensors."""
    options = dict(settings.options)
    data = _batches(options.pop("calibration"), layers[0])
    targets = Targets(include=("0", "1") if both else ("1",))
    host = nn.Sequential(*layers)
    assert data is not None
    config = variant.Config(targets=targets, **options, **_sizes(variant, settings))
    attachment = attach(host, config, calibration=[batch["x"] for batch in data], variant=variant)
    return {name: tensor.detach().clone() for name, tensor in attachment.layers["1"].state_dict().items()}


def _sizes(variant: type[Adapter], settings: Settings) -> dict[str, Any]:
    fields = variant.Config.__dataclass_fields__
    return {key: value for key, value in (("r", settings.r), ("alpha", settings.alpha)) if key in fields}


def entry_for(variant: type[Adapter], *, like: Entry | None = None) -> Entry:
    """An entry for an adapter class; with ``like``, one that stands in for another (a wrong or re-written variant)."""
    options = {} if like is None else {**like.__dict__}
    method = next((m for m in METHODS if m.name == variant.name), None)
    fixed = {"name": variant.name, "build": lambda layer, s: attached(variant, layer, s), "code": variant}
    if any(d.get("calibration") for d in map(dict, (*options.get("options", ()), *_always(method)))):
        fixed["build_stack"] = lambda layers, s, both: stacked(variant, layers, s, both)
    return Entry(**{"method": method, **options, **fixed})


def _always(method: Method | None) -> tuple[Options, ...]:
    """The options that every probe of the method sets."""
    return () if method is None else tuple(r.options for r in method.references)


def _row(name: str, **more: object) -> Entry:
    plain = Entry(**{**entry_for(by_name(name)).__dict__, **more})
    return entry_for(by_name(name), like=plain)


def _sets(*options: Mapping[str, object]) -> tuple[Options, ...]:
    return tuple(tuple(sorted(each.items())) for each in options)


_LORA = _sets({"rslora": True}, {"init": "gaussian"})
_STEERED = ({"coeff": -1.0}, {"coeff": 0.5, "suppress_only": True})
_SELECTED = ({"calibration": "rows"}, {"calibration": "rows", "act_pool": "mean_abs"})
_MASKED = {"calibration": "masked"}

ENTRIES: tuple[Entry, ...] = (
    _row("lora", has_dropout=True, options=_LORA),
    _row("pissa", has_dropout=True, options=_sets({"rslora": True})),
    _row("delora", has_dropout=True, options=_sets({"lam": 4.0}, {"frozen_copies": True})),
    _row("ia3", has_rank=False),
    _row("ia3_ff", has_rank=False),
    _row("dora", has_dropout=True, options=_LORA, specials=("zero-row",)),
    _row("hra", laws=("reflection",), options=_sets({"gram_schmidt": True})),
    _row(
        "eva", laws=("principal",), has_dropout=True, options=_sets({"calibration": "mean"}, {"whiten": True}, _MASKED)
    ),
    _row("road", has_rank=False, options=_sets({"kind": "road_2"}, {"kind": "road_4"})),
    _row("antipasto", laws=("steering",), options=_sets(*_STEERED, *_SELECTED, _MASKED)),
    _row(
        "antipasto_rot",
        laws=("steering", "rotation"),
        options=_sets(
            {"block_size": 4},
            {"rotate_basis": "U"},
            {"rotate_basis": "both"},
            {"rotate_basis": "none"},
            {"max_rotation_angle": 1.2},
            {"coeff": -1.0},
            {"calibration": "rows"},
        ),
    ),
    _row(
        "antipasto_ablate",
        laws=("steering", "contraction"),
        options=_sets({"k": 2}, {"coeff": 0.5, "k": 2}, {"calibration": "rows", "cov_orient": True, "k": 2}),
    ),
    _row("antipasto_corda", laws=("steering",), options=_sets(*_STEERED, {"cov_eps": 0.1}, _MASKED)),
    _row("antipasto_arrow", laws=("steering",), options=_sets({"block": 3}, {"block": 2, "coeff": -0.5}, *_SELECTED)),
)

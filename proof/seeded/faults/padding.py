"""How a seeded fault attaches by calibration whose padding it takes for tokens."""

from __future__ import annotations

from torch import nn

from refs.calibration import batches
from refs.settings import Settings
from refs.subject import AS_IS, Host, Subject
from subjects.own.attached import ON_THE_LAYER, attached
from variants import attach
from variants.runtime.adapter import Adapter


def built_blind_to_masks(variant: type[Adapter], layer: nn.Linear, settings: Settings) -> Subject:
    """The subject that ``attached`` builds, calibrated on the padding as well where there is some."""
    options = dict(settings.options)
    if options.get("calibration") != "masked":
        return attached(variant, layer, settings)
    del options["calibration"]
    fields = variant.Config.__dataclass_fields__
    sizes = {name: size for name, size in (("r", settings.r), ("alpha", settings.alpha)) if name in fields}
    config = variant.Config(targets=ON_THE_LAYER, dtype=settings.dtype or "float32", **options, **sizes)
    host = Host(layer)
    data = [{"x": batch.x} for batch in batches("masked", layer.in_features, layer.weight.dtype)]
    attach(host, config, calibration=data, variant=variant)
    listed = variant.specs(config, layer.in_features, layer.out_features)
    names = [name for name, spec in listed.items() if not spec.kept]
    return Subject(host, layer, {name: (f"layer.adapter.{name}", AS_IS) for name in names})

"""A subject of this repository as a user's code: the imports, and the call of ``attach`` that puts it on a model."""

from __future__ import annotations

from conformance.reporting.explain.snippet import written_config
from refs.subject import Subject
from variants import VARIANTS
from variants.runtime.adapter import Adapter


def written(subject: Subject) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Imports and lines for a model called ``ours`` with one layer ``layer``; None if it carries no adapter of ours."""
    adapter = getattr(subject.base, "adapter", None)
    if not isinstance(adapter, Adapter):
        return None
    variant, config = type(adapter), type(adapter.config)
    call = written_config(adapter.config, {"targets": 'Targets(include=("layer",))'})
    if variant in VARIANTS:
        return (f"from variants import Targets, attach, {config.__name__}",), (f"attach(ours, {call})",)
    imports = (
        "from variants import Targets, attach",
        f"from {config.__module__} import {config.__name__}",
        f"from {variant.__module__} import {variant.__name__}",
    )
    return imports, (f"attach(ours, {call}, variant={variant.__name__})",)

"""Turn a peft configuration into a subject: a real ``get_peft_model`` around one linear layer.

Importing peft takes seconds, so it is imported when the first reference is built and not before.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import nn

from refs.settings import Settings
from refs.subject import Host, Subject, View

if TYPE_CHECKING:
    from peft import PeftConfig

MARKS = {"Linear4bit": "is_loaded_in_4bit", "Linear8bitLt": "is_loaded_in_8bit"}
"""What transformers writes on a model with quantised layers of this class, and peft reads."""


def build_peft(
    layer: nn.Linear, config: PeftConfig, names: Mapping[str, tuple[str, View]], settings: Settings
) -> Subject:
    """Wrap ``layer`` as a peft user would (adapters of a half-precision base are upcast to float32).

    ``names``: formula's name -> path below the peft layer, and view. An explicit ``settings.dtype`` casts the
    adapter's tensors afterwards.
    """
    from peft import get_peft_model

    host = Host(layer)
    if type(layer).__name__ in MARKS:
        setattr(host, MARKS[type(layer).__name__], True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        get_peft_model(host, config)
    subject = Subject(host, layer, {name: (f"layer.{path}", view) for name, (path, view) in names.items()})
    if settings.dtype is not None:
        dtype = getattr(torch, settings.dtype)
        for path, _ in subject.names.values():
            tensor = host.get_parameter(path)
            tensor.data = tensor.data.to(dtype)
    return subject

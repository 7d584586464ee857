"""Errors for people who come from peft, and for models that are wrapped or only a part."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import nn

from tests.runtime.models import Mlp, llama, refused, small_config
from variants import (
    AdapterError,
    DeLoRAConfig,
    HRAConfig,
    LoRAConfig,
    ROADConfig,
    attach,
    attachments,
    config_for,
    detach,
    export_peft,
    import_peft,
    load,
    merge,
    save,
    unmerge,
)


@pytest.mark.parametrize(
    ("config", "option", "said"),
    [
        (LoRAConfig, "lora_alpha", "Did you mean alpha"),
        (LoRAConfig, "lora_dropout", "Did you mean dropout"),
        (LoRAConfig, "use_rslora", "Did you mean rslora"),
        (LoRAConfig, "init_lora_weights", "Did you mean init"),
        (LoRAConfig, "use_dora", "use DoRAConfig"),
        (LoRAConfig, "target_modules", "targets=Targets"),
        (LoRAConfig, "task_type", "leave it out"),
        (HRAConfig, "apply_GS", "Did you mean gram_schmidt"),
        (DeLoRAConfig, "delora_lambda", "Did you mean lam"),
        (ROADConfig, "variant", "Did you mean kind"),
        (LoRAConfig, "alhpa", "Did you mean alpha"),
        (LoRAConfig, "banana", r"See help\(LoRAConfig\)"),
    ],
)
def test_names_of_peft(config: type, option: str, said: str) -> None:
    """Otherwise who knows peft's names would get a bare TypeError that does not say the right one."""
    with pytest.raises(AdapterError, match=rf"{config.__name__}: got the option {option}; want one of .*\. .*{said}"):
        config(**{option: 1})


def test_a_config_is_still_an_ordinary_dataclass() -> None:
    """Otherwise the check of names would break copying, pickling or replacing."""
    config = LoRAConfig(r=4, alpha=2)
    assert copy.deepcopy(config) == pickle.loads(pickle.dumps(config)) == config == replace(config, r=4)
    with pytest.raises(AdapterError, match="Did you mean alpha"):
        replace(config, lora_alpha=3)  # type: ignore[call-arg]


def test_files_of_peft(tmp_path: Path) -> None:
    """Otherwise a good file of peft's would be called damaged, and import_peft not be named."""
    model = llama()
    peft.get_peft_model(copy.deepcopy(model), peft.LoraConfig(target_modules=["q_proj"])).save_pretrained(str(tmp_path))
    for path in (tmp_path, tmp_path / "adapter_model.safetensors"):
        with refused(model, r"what peft's save_pretrained wrote.* Call import_peft\(model, '.*'\)"):
            load(model, path)
    import_peft(model, tmp_path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """Otherwise a misspelt path would be called a damaged file."""
    with refused(Mlp(), "there is no file of this name. Check the path"):
        load(Mlp(), tmp_path / "a.safetensors")


WRAPPERS: dict[str, Callable[[nn.Module], Any]] = {
    r"model\._orig_mod": torch.compile,
    r"model\.module": nn.DataParallel,
    r"model\.module\._orig_mod": lambda model: nn.DataParallel(torch.compile(model)),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("path", WRAPPERS)
def test_wrapped_models(path: str, tmp_path: Path) -> None:
    """Otherwise compiled code would pass over the adapter, and DDP not synchronise it, without a word."""
    model = Mlp()
    attach(model, small_config("lora"))
    wrapped = WRAPPERS[path](model)
    save(wrapped, tmp_path / "a.safetensors")
    assert list(attachments(wrapped)) == ["lora"]
    for call in (detach, merge, unmerge):
        with pytest.raises(AdapterError, match=rf"Call it with {path}, and wrap the model again"):
            call(wrapped)
    detach(model)
    export: list[Callable[[], Any]] = [
        lambda: attach(wrapped, small_config("lora")),
        lambda: load(wrapped, tmp_path / "a.safetensors"),
        lambda: import_peft(wrapped, tmp_path),
    ]
    for run in export[:2]:
        with refused(model, rf"a model wrapped in .* Call it with {path}, and wrap"):
            run()


def test_export_of_a_wrapped_model(tmp_path: Path) -> None:
    """Otherwise peft would not find the layers by the names in the file."""
    model = llama()
    attach(model, small_config("lora"))
    export_peft(model, tmp_path / "plain")
    export_peft(nn.DataParallel(model), tmp_path / "wrapped")
    files = [(tmp_path / name / "adapter_model.safetensors").read_bytes() for name in ("plain", "wrapped")]
    assert files[0] == files[1]


def test_a_part_of_the_model_and_a_model_around_it(tmp_path: Path) -> None:
    """Otherwise ``load(model.model, ...)`` would list all layers as missing and advise another file."""
    model: Any = llama()
    attach(model, small_config("lora"))
    save(model, tmp_path / "outer.safetensors")
    detach(model)
    with refused(model, r"a part of the model .*Pass the model of which this is \.model"):
        load(model.model, tmp_path / "outer.safetensors")
    with refused(model, r"a model around the model .*Pass model\.0"):
        load(nn.Sequential(model), tmp_path / "outer.safetensors")
    load(model, tmp_path / "outer.safetensors")


def test_config_for_names_the_option_too() -> None:
    """Otherwise a config by the variant's name would be less helpful than its class."""
    with pytest.raises(AdapterError, match="Did you mean alpha"):
        config_for("lora", lora_alpha=3)

"""What is done with one variant on one model, step by step; a step that cannot be done raises."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.codes import on_codes
from models.life import NEAR, START_OFF, Life, NotHere, PeftRefuses, equal, near, require
from variants import detach, export_peft, import_peft, load, merge, merge_and_detach, save, unmerge


def attaching(life: Life) -> None:
    """The base is computed at first, with the adapter on and off again."""
    model, attachment = life.attached()
    before = life.out(life.base)
    near(life.out(model), before, "the start is not the base", START_OFF.get(life.variant, NEAR))
    require(bool(attachment.layers), "no layer has an adapter")
    detach(model)
    equal(life.out(model), before, "detach does not give the base back")


def training(life: Life) -> None:
    """Every trainable tensor gets a gradient, the base none, and the outputs move."""
    model = life.trained().train()
    life.loss(model).backward()  # type: ignore[no-untyped-call]
    trainable = [p for p in model.parameters() if p.requires_grad]
    require(all(p.grad is not None for p in trainable), "a tensor gets no gradient")
    state = {key: t for key, t in model.state_dict().items() if ".adapter." not in key}
    require(all(torch.equal(t, state[key]) for key, t in life.base.state_dict().items()), "the base has moved")
    require(bool((life.logits - life.out(life.base)).abs().max() > NEAR), "training changes nothing")


def saving(life: Life) -> None:
    """Bit for bit on a fresh base."""
    path = life.folder / "adapter.safetensors"
    save(life.trained(), path)
    fresh = copy.deepcopy(life.base)
    load(fresh, path)
    equal(life.out(fresh), life.logits, "a loaded adapter computes something else")


def merging(life: Life) -> None:
    """The same outputs."""
    model = life.trained()
    merge(model)
    near(life.out(model), life.logits, "the merged model computes something else")


def unmerging(life: Life) -> None:
    """Bit for bit back."""
    model = life.trained()
    merge(model)
    unmerge(model)
    equal(life.out(model), life.logits, "unmerge gives something else")


def merging_for_good(life: Life) -> None:
    """A plain model with the keys of the base."""
    model = merge_and_detach(life.trained())
    near(life.out(model), life.logits, "the merged model computes something else")
    require(model.state_dict().keys() == life.base.state_dict().keys(), "other keys than the base's")


def heading(life: Life) -> None:
    """A new head, trained whole beside the adapter: saved, loaded and kept with it."""
    if not life.kind.head:
        raise NotHere
    model = life.stepped(*life.attached(heads=(life.kind.head,)))
    want, path = life.out(model), life.folder / "with-head.safetensors"
    trained, before = (m.get_parameter(f"{life.kind.head}.weight") for m in (model, life.base))
    require(not torch.equal(trained, before), "the head has not moved")
    save(model, path)
    fresh = copy.deepcopy(life.base)
    load(fresh, path)
    equal(life.out(fresh), want, "loaded with its head, it computes something else")
    merge_and_detach(model)
    near(life.out(model), want, "merged with its head, it computes something else")


def on_experts(life: Life) -> None:
    """On weights that are stacked in one parameter: loaded, merged and taken to peft and back, the same outputs."""
    if not life.kind.stacked:
        raise NotHere
    model, attachment = life.attached(stacked=True)
    life.stepped(model, attachment)
    want, path, folder = life.out(model), life.folder / "experts.safetensors", life.folder / "experts-for-peft"
    require(bool((want - life.out(life.base)).abs().max() > NEAR), "training changes nothing")
    save(model, path)
    fresh = copy.deepcopy(life.base)
    load(fresh, path)
    equal(life.out(fresh), want, "a loaded adapter computes something else")
    theirs = _in_peft(life, model, folder)
    near(life.out(theirs), want, "peft computes something else")
    theirs.save_pretrained(str(folder))
    again = copy.deepcopy(life.base)
    import_peft(again, folder)
    near(life.out(again), want, "what comes back from peft computes something else")
    near(life.out(merge_and_detach(model)), want, "the merged model computes something else")


def generating(life: Life) -> None:
    """The same tokens with and without a cache, and after a merge for good."""
    if life.kind.prompt is None:
        raise NotHere
    model: Any = life.trained()
    options: dict[str, Any] = {"max_new_tokens": 4, "do_sample": False}
    with_cache, without = (model.generate(**life.kind.prompt, **options, use_cache=use) for use in (True, False))
    equal(with_cache, without, "other tokens with a cache than without")
    merged: Any = merge_and_detach(life.trained())
    for use in (True, False):
        equal(merged.generate(**life.kind.prompt, **options, use_cache=use), without, "other tokens after a merge")


def exporting(life: Life) -> None:
    """peft computes the same from the exported files."""
    near(life.out(_in_peft(life)), life.logits, "peft computes something else")


def importing(life: Life) -> None:
    """What peft saves comes back and computes the same."""
    _in_peft(life).save_pretrained(str(life.folder / "from-peft"))
    model = copy.deepcopy(life.base)
    import_peft(model, life.folder / "from-peft")
    near(life.out(model), life.logits, "what comes back from peft computes something else")


def checkpointing(life: Life) -> None:
    """The same gradients with gradient checkpointing."""
    grads = []
    for reentrant in (None, False, True):
        model: Any = life.trained().train()
        if reentrant is not None:
            if not model.supports_gradient_checkpointing:
                raise NotHere
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": reentrant})
            model.enable_input_require_grads()  # transformers does so itself where the inputs are tokens
        life.loss(model).backward()  # type: ignore[no-untyped-call]
        found = {key: p.grad for key, p in model.named_parameters() if p.requires_grad}
        require(all(grad is not None for grad in found.values()), "a tensor gets no gradient")
        grads.append(torch.cat([grad.reshape(-1) for grad in found.values()]))
    near(grads[1], grads[0], "other gradients")
    near(grads[2], grads[0], "other gradients, reentrant")


STEPS: dict[str, Callable[[Life], None]] = {
    "attach": attaching,
    "train": training,
    "save, load": saving,
    "merge": merging,
    "unmerge": unmerging,
    "merge for good": merging_for_good,
    "new head": heading,
    "experts": on_experts,
    "generate": generating,
    "export": exporting,
    "import": importing,
    "checkpointing": checkpointing,
    "nf4": lambda life: on_codes(life, "nf4"),
    "int8": lambda life: on_codes(life, "int8"),
}


def _in_peft(life: Life, model: nn.Module | None = None, folder: Path | None = None) -> Any:
    import peft

    folder = folder or life.folder / "for-peft"
    export_peft(life.trained() if model is None else model, folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return peft.PeftModel.from_pretrained(copy.deepcopy(life.base), str(folder)).eval()
        except ValueError as error:
            if "incompatible with" not in str(error):
                raise
            raise PeftRefuses(str(error).partition(". ")[0]) from error

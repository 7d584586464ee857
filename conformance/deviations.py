"""What the variants declare to do differently, and why. Every row must show on every run.

A declaration never widens a tolerance: the case still reads DIFFER, and the card says so.
"""

from __future__ import annotations

from conformance.model import Deviation

PEFT_HRA = "https://github.com/huggingface/peft/blob/v0.21.2/src/peft/tuners/hra/layer.py#L111"

DEVIATIONS: tuple[Deviation, ...] = (
    Deviation(
        variant="hra",
        cases="hra/peft:hra/params/*-odd-rank",
        what="an odd rank is refused with an error; peft warns and starts at random, away from the identity",
        why="reflections cancel in pairs, so an odd number of them has no start at the identity",
        link=PEFT_HRA,
        by_default=False,
        scope=True,
        shows=("it raised",),
    ),
    Deviation(
        variant="hra",
        cases="hra/*:hra/init/*-gram_schmidt",
        what="with Gram-Schmidt U starts unpaired, uniform on +-1/sqrt(r); peft and the authors start with pairs",
        why="Gram-Schmidt of a vector and its copy is 0 / 0: that start gives NaN or amplified rounding",
        link=PEFT_HRA,
        by_default=False,
        shows=("U: *",),
    ),
    Deviation(
        variant="pissa",
        cases="pissa/peft:pissa/params/t0-f32+bf16-*",
        what="with adapter tensors in bfloat16 on a float32 layer W_res is W less the product of the stored, rounded "
        "tensors; peft casts its adapter after it formed W_res, and the start is then off by that rounding",
        why="what is subtracted must be what the forward adds back",
        link="https://github.com/huggingface/peft/blob/v0.21.2/src/peft/tuners/lora/layer.py",
        by_default=False,
        shows=("base weight",),
    ),
    *(
        Deviation(
            variant=name,
            cases=f"{name}/authors:{name}/params/t0-f32+bf16-*",
            what="with adapter tensors in bfloat16 on a float32 layer W_res is W less the product of the stored, "
            "rounded factors; the authors subtract the unrounded ones, and the start is then off by that rounding",
            why="what is subtracted must be what the forward adds back",
            link="https://github.com/wassname/lora-lite",
            by_default=False,
            shows=("base weight",),
        )
        for name in ("antipasto", "antipasto_rot", "antipasto_ablate", "antipasto_arrow")
    ),
    Deviation(
        variant="antipasto_corda",
        cases="antipasto_corda/peft:corda/group_init/*",
        what="the basis comes from W C^(1/2) and its inverse root, C = E[x x^T] + eps I; peft's CorDA decomposes W C "
        "and unwinds with C^-1, which spans another subspace",
        why="the method is the authors' AntiPaSTO on an oriented basis, which weighs a direction by how far it moves "
        "the output; peft follows the equations as the CorDA paper prints them",
        link="https://arxiv.org/abs/2406.05223",
        by_default=True,
        shows=("span of P",),
    ),
    *(
        Deviation(
            variant="antipasto",
            cases=f"antipasto/authors:antipasto/{check}/*calibration=masked*",
            what="tokens that the attention mask rules out do not count when directions are chosen; in the authors' "
            "code they do, except in the variant with the oriented basis",
            why="padding says nothing about the inputs",
            link="https://github.com/wassname/lora-lite",
            by_default=False,
            shows=("base weight", "S at t=0", "U diag(S) Vh at t=0", "W_res at t=0"),
        )
        for check in ("init", "params")
    ),
)

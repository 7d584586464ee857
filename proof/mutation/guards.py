"""What stands for each file of the runtime: the tests and the checks that a mutant of it goes before."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Guard:
    """What stands for one file of the runtime: test files, and checks of some variants."""

    file: str
    tests: tuple[str, ...]
    variants: tuple[str, ...]
    checks: tuple[str, ...]


_RUNTIME, _VARIANTS, _EXCHANGE = "tests/runtime", "tests/variants", "tests/exchange"

GUARDS: tuple[Guard, ...] = (
    Guard(
        "variants/runtime/attach.py",
        (
            f"{_RUNTIME}/test_attach.py",
            f"{_RUNTIME}/test_odd_layers.py",
            f"{_RUNTIME}/test_kept_modules.py",
            f"{_RUNTIME}/test_reads.py",
            f"{_RUNTIME}/test_checkpoint.py",
            f"{_RUNTIME}/quantised/test_held.py",
        ),
        ("lora", "antipasto"),
        ("detach", "coexistence", "params", "space"),
    ),
    Guard(
        "variants/runtime/calibrate.py",
        (f"{_RUNTIME}/test_attach.py", f"{_VARIANTS}/test_eva.py", f"{_VARIANTS}/test_antipasto_corda.py"),
        ("eva", "antipasto_corda", "antipasto_rot"),
        ("data_init", "init", "several_layers", "shared_inputs"),
    ),
    Guard(
        "variants/runtime/numerics/derived.py",
        (f"{_VARIANTS}/test_derived.py", f"{_VARIANTS}/test_dora_norms.py"),
        ("dora", "hra"),
        ("influence", "space"),
    ),
    Guard(
        "variants/runtime/merge.py",
        (f"{_RUNTIME}/test_merge.py", f"{_RUNTIME}/test_odd_layers.py", f"{_RUNTIME}/test_attach.py"),
        ("lora", "antipasto"),
        ("merge", "space"),
    ),
    Guard(
        "variants/runtime/numerics/fold.py",
        (f"{_RUNTIME}/test_merge.py",),
        ("lora", "ia3_ff"),
        ("merge", "space"),
    ),
    Guard(
        "variants/runtime/numerics/krylov.py",
        (f"{_VARIANTS}/test_krylov.py", f"{_VARIANTS}/test_pissa.py"),
        ("pissa", "eva"),
        ("init", "reconstruction", "data_init"),
    ),
    Guard(
        "variants/runtime/numerics/products.py",
        (f"{_VARIANTS}/test_products.py",),
        ("lora", "antipasto"),
        ("forward", "gradients", "low_precision", "space"),
    ),
    Guard(
        "variants/runtime/checkpoint.py",
        (
            f"{_RUNTIME}/test_checkpoint.py",
            f"{_RUNTIME}/test_checkpoint_bases.py",
            f"{_RUNTIME}/test_checkpoint_corruption.py",
            f"{_RUNTIME}/test_kept_modules.py",
        ),
        ("lora", "antipasto"),
        ("checkpoint",),
    ),
    Guard(
        "variants/runtime/fingerprint.py",
        (f"{_RUNTIME}/test_checkpoint_bases.py", f"{_RUNTIME}/test_checkpoint.py"),
        ("lora",),
        ("checkpoint",),
    ),
    Guard(
        "variants/runtime/targets.py",
        (f"{_RUNTIME}/test_targets.py", f"{_RUNTIME}/test_attach.py", f"{_RUNTIME}/test_odd_layers.py"),
        ("lora",),
        ("several_layers",),
    ),
    Guard(
        "variants/exchange/exporting.py",
        (f"{_EXCHANGE}/test_export_peft.py", f"{_EXCHANGE}/test_export_peft_refusals.py"),
        ("lora",),
        ("exchange",),
    ),
    Guard(
        "variants/exchange/peft_lora.py",
        (f"{_EXCHANGE}/test_export_peft.py", f"{_EXCHANGE}/test_import_peft.py"),
        ("lora", "pissa"),
        ("exchange",),
    ),
    Guard(
        "variants/exchange/importing.py",
        (
            f"{_EXCHANGE}/test_import_peft.py",
            f"{_EXCHANGE}/test_import_peft_tensors.py",
            f"{_EXCHANGE}/test_import_peft_files.py",
        ),
        ("lora",),
        ("exchange",),
    ),
)
"""In the order in which they are tried and listed."""

"""One run: read, train, ask, and write a row."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmark import provenance, table
from benchmark.evaluate import Score, evaluate, pad_of
from benchmark.formats import Split, gsm8k, metamathqa, split
from benchmark.prompts import Encoded, batch, encoded
from benchmark.settings import BARE, Settings, group_id, run_id
from benchmark.train import Trained, mean_loss, train
from conformance.planning.names import BadRequest
from conformance.running.background import Bar
from learning.own_model import own_model
from learning.sides import NEEDS_DATA

CALIBRATION = 16
"""Batches of training rows for the methods that start from data."""


@dataclass(frozen=True)
class Result:
    """What a run measured."""

    score: Score
    valid_loss: float
    trained: Trained | None
    trainable: int
    total: int
    file_bytes: int
    memory: int


def run(settings: Settings, results: Path, *, dirty: bool = False, again: bool = False, quiet: bool = False) -> str:
    """Do it, append its row to ``results``, and return its id. Without a commit nothing is even loaded.

    BadRequest, AdapterError: whatever is asked for and is not there, before any training. Under ``accelerate launch``
    every process calls this; the first one writes.
    """
    started = datetime.now(UTC).isoformat(timespec="seconds")
    commit = provenance.commit(results, dirty=dirty)
    if settings.variant != BARE:
        settings.config()
    questions = gsm8k(settings.test)
    parts = split(
        metamathqa(settings.train),
        questions,
        train=settings.train_size,
        valid=settings.valid_size,
        kinds=settings.kinds,
        seed=settings.data_seed,
    )
    if settings.test_size > len(questions):
        raise BadRequest(f"--test-size: got {settings.test_size}, want at most the {len(questions)} of the file.")
    questions = questions[: settings.test_size or None]
    if not settings.model.is_dir():
        raise BadRequest(f"--model: got {settings.model}, want a local folder. Nothing is downloaded.")
    digests = {
        "model_digest": provenance.model_digest(settings.model),
        "train_digest": provenance.digest(settings.train),
        "test_digest": provenance.digest(settings.test),
    }
    name, group = run_id(settings, digests, commit), group_id(settings, digests)
    _require_new(results, name, again)
    accelerator = _accelerator(settings)
    result, dropped = _measured(accelerator, settings, parts, questions, quiet or not accelerator.is_main_process)
    row = {
        "run_id": name,
        "group": group,
        "started": started,
        "commit": commit,
        **settings.text(),
        "config": "" if settings.variant == BARE else json.dumps(settings.config().to_json(), sort_keys=True),
        **digests,
        **provenance.versions(),
        "device": _device(accelerator.device),
        "processes": accelerator.num_processes,
        "overlap": parts.overlap,
        "too_long": dropped,
        **_columns(result),
    }
    if accelerator.is_main_process:
        folder = results.parent / f"{results.stem}-answers"
        folder.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps(line) for line in result.score.lines()]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        table.append(results, row)
    return name


def _accelerator(settings: Settings) -> Any:
    from accelerate import Accelerator, DistributedType

    accelerator = Accelerator(mixed_precision="no")  # the launcher's choice would be an argument without a column
    if accelerator.distributed_type not in (DistributedType.NO, DistributedType.MULTI_GPU, DistributedType.MULTI_CPU):
        raise BadRequest(
            f"accelerate: got {accelerator.distributed_type}, want one process, or several that each hold the model "
            "(MULTI_GPU, MULTI_CPU)."
        )
    if settings.batch % accelerator.num_processes:
        raise BadRequest(
            f"--batch: got {settings.batch} for {accelerator.num_processes} processes, want a multiple of their number."
        )
    return accelerator


def _measured(
    accelerator: Any, settings: Settings, parts: Split, questions: Sequence[Any], quiet: bool
) -> tuple[Result, int]:
    from variants import attach, save

    own = own_model(settings.model, dtype=settings.dtype, seed=settings.seed)
    tokenizer: Any = own.tokenizer
    if tokenizer is None or tokenizer.eos_token_id is None or not own.has_weights:
        raise BadRequest(
            f"--model: got {settings.model} without weights, or without a tokenizer that has a token for the end; "
            "want all of these."
        )
    pad = pad_of(tokenizer)
    rows, valid = (
        [encoded(tokenizer, each.question, each.response) for each in part] for part in (parts.train, parts.valid)
    )
    fit = [row for row in rows if len(row) <= settings.max_length]
    if not fit:
        raise BadRequest(f"--max-length: got {settings.max_length}, want at least {min(map(len, rows))} tokens.")
    valid = [row for row in valid if len(row) <= settings.max_length]
    model = own.model.to(accelerator.device)
    if settings.checkpointing:
        asked: Any = model
        asked.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    total, trained, trainable, size = sum(p.numel() for p in model.parameters()), None, 0, 0
    if settings.variant != BARE:
        torch.manual_seed(settings.seed)
        calibration = _calibration(fit, settings, pad, accelerator.device) if settings.variant in NEEDS_DATA else None
        adapter = attach(model, settings.config(), calibration=calibration)
        trainable = sum(p.numel() for p in adapter.parameters())
        bar = Bar(settings.variant, settings.steps, quiet=quiet)
        trained = train(accelerator, model, fit, settings, pad, lambda loss: bar.step(f"loss {loss:.3f}"))
        with tempfile.TemporaryDirectory() as folder:
            save(model, Path(folder) / "adapter.safetensors")
            size = (Path(folder) / "adapter.safetensors").stat().st_size
    valid_loss = mean_loss(accelerator, model, valid, settings.micro, pad)
    if settings.checkpointing:
        asked.gradient_checkpointing_disable()
    share = -(-len(questions) // accelerator.num_processes)
    bar = Bar("questions", share, quiet=quiet)
    score = evaluate(
        accelerator,
        model,
        tokenizer,
        questions,
        size=settings.eval_batch,
        max_new=settings.max_new,
        each=lambda n: bar.step(by=n),
    )
    memory = torch.cuda.max_memory_allocated() if accelerator.device.type == "cuda" else _resident()
    return Result(score, valid_loss, trained, trainable, total, size, memory), len(rows) - len(fit)


def _calibration(rows: Sequence[Encoded], settings: Settings, pad: int, device: torch.device) -> list[Any]:
    """Training rows as the model sees them, with a mask over the padding."""
    found = []
    for at in range(0, min(len(rows), CALIBRATION * settings.micro), settings.micro):
        part = rows[at : at + settings.micro]
        ids = batch(part, pad)[0]
        mask = torch.zeros_like(ids)
        for line, row in enumerate(part):
            mask[line, : len(row)] = 1
        found.append({"input_ids": ids.to(device), "attention_mask": mask.to(device)})
    return found


def _require_new(results: Path, name: str, again: bool) -> None:
    if again or not results.exists():
        return
    if any(row["run_id"] == name for row in table.rows(results)):
        raise BadRequest(f"--results: got {results} with the run {name} in it, want a new one. --again measures anew.")


def _columns(result: Result) -> dict[str, object]:
    trained, score = result.trained, result.score
    return {
        "trainable": result.trainable,
        "parameters": result.total,
        "adapter_bytes": result.file_bytes,
        "train_loss": f"{sum(trained.losses[-10:]) / len(trained.losses[-10:]):.6f}" if trained else "",
        "valid_loss": f"{result.valid_loss:.6f}",
        "questions": len(score.answers),
        "right": sum(each.right for each in score.answers),
        "no_answer": sum(each.got is None for each in score.answers),
        "exact_match": f"{score.exact_match:.6f}",
        "train_tokens": trained.tokens if trained else 0,
        "train_seconds": f"{trained.seconds:.3f}" if trained else "0",
        "answer_tokens": score.tokens,
        "answer_seconds": f"{score.seconds:.3f}",
        "peak_bytes": result.memory,
    }


def _resident() -> int:
    """The process's peak of resident memory: of a CPU run there is no better number."""
    try:
        import resource
    except ImportError:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _device(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device.type)

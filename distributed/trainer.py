"""``transformers.Trainer`` on an adapted model: the steps of a plain loop, and training resumed from its checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from distributed.plain import gradients, model_of, optimiser_of, require_same, taught, trained
from learning.rates import RATES

STEPS, SAVED = 4, 2
"""Of the run, and before its checkpoint."""


def steps(name: str, folder: Path) -> None:
    """AdamW at a constant rate, in the order of the data: the tensors of a plain loop."""
    model = model_of(name)
    trainer(name, model, folder).train()
    plain, data = model_of(name), taught()
    optimiser = optimiser_of(name, plain)
    for step in range(STEPS):
        optimiser.zero_grad()
        # What Trainer is given are whole sequences; it takes the next tokens from them.
        inputs, _ = data.batch(step)
        gradients(plain, inputs[:, :-1], inputs[:, 1:])
        optimiser.step()
    require_same(trained(model), trained(plain), f"tensor after {STEPS} steps")


def resuming(name: str, folder: Path) -> None:
    """From the checkpoint in the middle, on a fresh model with the adapter: the tensors of the run, every bit."""
    model, again = model_of(name), model_of(name)
    trainer(name, model, folder).train()
    with torch.no_grad():
        for parameter in again.parameters():
            if parameter.requires_grad:
                parameter.mul_(0.5)
    trainer(name, again, folder).train(resume_from_checkpoint=str(folder / f"checkpoint-{SAVED}"))
    require_same(trained(again), trained(model), "resumed from a checkpoint", limit=0.0)


WAYS = {"Trainer": steps, "resumed": resuming}


def trainer(name: str, model: Any, folder: Path) -> Any:
    """One that adds nothing of its own: no decay, no clipping, no schedule, no shuffling."""
    import transformers as hf

    hf.utils.logging.set_verbosity_error()
    hf.utils.logging.disable_progress_bar()

    class InOrder(hf.Trainer):  # type: ignore[misc]
        """The rows as they come."""

        def _get_train_sampler(self, *given: Any) -> Any:
            return torch.utils.data.SequentialSampler(self.train_dataset)

    data = taught()
    arguments = hf.TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=data.size,
        max_steps=STEPS,
        save_steps=SAVED,
        learning_rate=RATES[name].lr,
        lr_scheduler_type="constant",
        weight_decay=0.0,
        max_grad_norm=0.0,
        optim="adamw_torch",
        use_cpu=True,
        report_to=[],
        logging_strategy="no",
        disable_tqdm=True,
    )
    rows = [{"input_ids": row, "labels": row} for row in data.inputs]
    made = InOrder(model=model, args=arguments, train_dataset=rows)
    made.remove_callback(hf.PrinterCallback)
    return made

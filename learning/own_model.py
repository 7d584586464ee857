"""A causal language model of the user's, from a local folder or from a config alone. Nothing is downloaded."""

from __future__ import annotations

import json
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from conformance.planning.names import BadRequest

WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "vocab.txt")


@dataclass(frozen=True)
class OwnModel:
    """A model, its tokenizer if it has one, and whether its weights are from a file (or random, from ``seed``)."""

    model: nn.Module
    tokenizer: Any
    has_weights: bool


def own_model(path: Path, *, dtype: str = "float32", seed: int = 0) -> OwnModel:
    """The model of a folder (config.json, with weights or without) or of a config file.

    BadRequest: no such folder or file, no config in it, no causal language model, weights that cannot be read.
    """
    import transformers as hf

    os.environ["HF_HUB_OFFLINE"] = "1"
    hf.utils.logging.set_verbosity_error()
    hf.utils.logging.disable_progress_bar()
    folder = path if path.is_dir() else path.parent
    config_file = path / "config.json" if path.is_dir() else path
    if not config_file.is_file():
        want = "a folder with a config.json" if path.is_dir() else "a local folder, or a config file"
        raise BadRequest(f"--model: got {path}, which has none, want {want}. Nothing is downloaded.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            json.loads(config_file.read_text(encoding="utf-8"))
            config = hf.AutoConfig.from_pretrained(config_file, local_files_only=True)
            _require_causal(config, path)
            has_weights = path.is_dir() and any(next(folder.glob(form), None) for form in WEIGHTS)
            if has_weights:
                model, told = hf.AutoModelForCausalLM.from_pretrained(
                    folder, dtype=getattr(torch, dtype), local_files_only=True, output_loading_info=True
                )
                if absent := sorted(told["missing_keys"]):  # transformers gives them random values
                    raise BadRequest(f"--model: got {path} without {', '.join(absent[:3])}, want every weight.")
            else:
                torch.manual_seed(seed)
                model = hf.AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
            _require_causal_outputs(model.eval(), path)
        except BadRequest:
            raise
        except Exception as error:  # whatever transformers, or a model's own code, makes of a wrong file
            raise BadRequest(f"--model: got {path} ({_line(error)}), want a model that transformers loads.") from None
        tokenizer = _tokenizer(folder) if path.is_dir() else None
    return OwnModel(model.eval(), tokenizer, has_weights)


def _require_causal(config: Any, path: Path) -> None:
    import transformers as hf

    if type(config) not in hf.AutoModelForCausalLM._model_mapping or getattr(config, "is_encoder_decoder", False):
        raise BadRequest(
            f"--model: got {path} of type {config.model_type!r}, want a causal language model "
            "(llama, qwen3, gpt2 and others)."
        )


@torch.no_grad()
def _require_causal_outputs(model: Any, path: Path) -> None:
    """Of a model that sees the next token, a loss would say nothing: BERT without ``is_decoder``."""
    logits = model(input_ids=torch.tensor([[0, 1, 0, 1], [0, 1, 0, 0]])).logits[:, :3].float()
    if not torch.allclose(logits[0], logits[1], atol=1e-3 * logits.abs().max().item()):
        raise BadRequest(
            f"--model: got {path} of type {model.config.model_type!r} whose outputs depend on later tokens, "
            "want a causal language model."
        )


def _tokenizer(folder: Path) -> Any:
    import transformers as hf

    if not any((folder / name).is_file() for name in TOKENIZERS):
        return None
    try:
        return hf.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        raise BadRequest(f"--model: got a tokenizer in {folder} that cannot be read ({_line(error)}).") from None


def _line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}"[:300]

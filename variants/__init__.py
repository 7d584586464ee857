"""Adapter variants for linear layers, one file each, and the runtime that attaches, detaches, saves and loads them."""

from variants.dora import DoRAConfig
from variants.hra import HRAConfig
from variants.ia3 import IA3Config
from variants.ia3_ff import IA3FFConfig
from variants.lora import LoRAConfig
from variants.registry import VARIANTS, by_name, config_for
from variants.runtime.attach import attach, detach
from variants.runtime.checkpoint import load, save
from variants.runtime.errors import AdapterError
from variants.runtime.state import Attachment, attachments
from variants.runtime.targets import Targets

__all__ = [
    "VARIANTS",
    "AdapterError",
    "Attachment",
    "DoRAConfig",
    "HRAConfig",
    "IA3Config",
    "IA3FFConfig",
    "LoRAConfig",
    "Targets",
    "attach",
    "attachments",
    "by_name",
    "config_for",
    "detach",
    "load",
    "save",
]

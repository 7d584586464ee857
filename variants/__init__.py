"""Adapter variants for linear layers, one file each, and the runtime that attaches, detaches, saves and loads them."""

from variants.antipasto import AntiPaSTOConfig
from variants.antipasto_ablate import AntiPaSTOAblateConfig
from variants.antipasto_arrow import AntiPaSTOArrowConfig
from variants.antipasto_corda import AntiPaSTOCorDAConfig
from variants.antipasto_rot import AntiPaSTORotConfig
from variants.delora import DeLoRAConfig
from variants.dora import DoRAConfig
from variants.eva import EVAConfig
from variants.exchange import export_peft, import_peft
from variants.hra import HRAConfig
from variants.ia3 import IA3Config
from variants.ia3_ff import IA3FFConfig
from variants.lora import LoRAConfig
from variants.pissa import PiSSAConfig
from variants.registry import VARIANTS, by_name, config_for
from variants.road import ROADConfig
from variants.runtime.attach import attach, detach, merge_and_detach
from variants.runtime.checkpoint import load, save
from variants.runtime.errors import AdapterError
from variants.runtime.merge import merge, unmerge
from variants.runtime.numerics.derived import unchanged
from variants.runtime.scoped import merged
from variants.runtime.state import Attachment, attachments
from variants.runtime.targets import Targets

__all__ = [
    "VARIANTS",
    "AdapterError",
    "AntiPaSTOAblateConfig",
    "AntiPaSTOArrowConfig",
    "AntiPaSTOConfig",
    "AntiPaSTOCorDAConfig",
    "AntiPaSTORotConfig",
    "Attachment",
    "DeLoRAConfig",
    "DoRAConfig",
    "EVAConfig",
    "HRAConfig",
    "IA3Config",
    "IA3FFConfig",
    "LoRAConfig",
    "PiSSAConfig",
    "ROADConfig",
    "Targets",
    "attach",
    "attachments",
    "by_name",
    "config_for",
    "detach",
    "export_peft",
    "import_peft",
    "load",
    "merge",
    "merge_and_detach",
    "merged",
    "save",
    "unchanged",
    "unmerge",
]

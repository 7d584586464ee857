"""The harness: what is asked of a variant, how it is compared with its references, and what the answers mean.

``conformance.entry`` and ``conformance.conforms_to`` are for somebody else's code (docs/your-own-code.md). They load
torch when they are used, not before.
"""

from __future__ import annotations

import logging
from typing import Any

# bitsandbytes names a package that nobody here needs, on every import of torch's quantised layers.
logging.getLogger("bitsandbytes.backends.cpu.ops").addFilter(
    lambda record: not str(record.msg).startswith("Failed to load CPU gemm_4bit_forward from kernels-community")
)

_PLACES = {
    "entry": "conformance.foreign.entry",
    "conforms_to": "conformance.foreign.conforms",
    "MinorFinding": "conformance.foreign.conforms",
    "copy_base": "conformance.foreign.mapping",
    "Promises": "conformance.nouns.promises",
    "FOREIGN": "conformance.nouns.promises",
    "Lifecycle": "conformance.nouns.lifecycle",
    "Deviation": "conformance.nouns.verdict",
    "shifted": "refs.subject",
    "formula": "refs.foreign.formula",
    "recorded": "refs.foreign.recorded",
    "live": "conformance.foreign.own",
    "Method": "refs.reference",
    "ClosedForm": "refs.reference",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'conformance' has no attribute {name!r}; it has {', '.join(sorted(_PLACES))}")
    from importlib import import_module

    return getattr(import_module(_PLACES[name]), name)

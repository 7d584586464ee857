"""litgpt 0.5.13 and adapters 1.3.0: a LoRA layer without dropout holds a lambda, and cannot be pickled.

Wants one of the two.
"""

import pickle

import torch

try:
    from litgpt.lora import LoRALinear

    layer = LoRALinear(12, 20, r=4)
except ImportError:
    from adapters import LoRAConfig
    from adapters.methods.lora import LoRA

    layer = LoRA(torch.Size((4, 12)), torch.Size((20, 4)), LoRAConfig(r=4))
try:
    pickle.dumps(layer)
except (AttributeError, pickle.PicklingError) as error:
    print(type(error).__name__, error)
else:
    raise SystemExit("it can be pickled")

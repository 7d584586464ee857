"""adapters 1.3.0: a LoRA without dropout holds a lambda, and cannot be pickled. Wants adapters alone."""

import pickle

import torch
from adapters import LoRAConfig
from adapters.methods.lora import LoRA

try:
    pickle.dumps(LoRA(torch.Size((4, 12)), torch.Size((20, 4)), LoRAConfig(r=4)))
except (AttributeError, pickle.PicklingError) as error:
    print(type(error).__name__, error)
else:
    raise SystemExit("it can be pickled")

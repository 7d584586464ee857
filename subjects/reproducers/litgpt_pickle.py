"""litgpt 0.5.13: a LoRA layer without dropout holds a lambda, and cannot be pickled. Wants litgpt alone."""

import pickle

from litgpt.lora import LoRALinear

try:
    pickle.dumps(LoRALinear(12, 20, r=4))
except (AttributeError, pickle.PicklingError) as error:
    print(type(error).__name__, error)
else:
    raise SystemExit("it can be pickled")

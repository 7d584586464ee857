"""peft 0.21.2: LoHa and LoKr in training draw a random number though nothing is dropped. Wants peft alone.

LoRA without dropout draws none. What is random elsewhere in a run depends on whether such a layer is called.
"""

import torch
from peft import LoHaConfig, LoKrConfig, LoraConfig, get_peft_model
from torch import nn

draws = {}
for config in (LoraConfig(target_modules=["0"]), LoHaConfig(target_modules=["0"]), LoKrConfig(target_modules=["0"])):
    model = get_peft_model(nn.Sequential(nn.Linear(12, 20)), config).train()
    before = torch.get_rng_state()
    model(torch.ones(5, 12))
    draws[type(config).__name__] = not torch.equal(torch.get_rng_state(), before)
print("a call in training draws:", draws)
assert draws == {"LoraConfig": False, "LoHaConfig": True, "LoKrConfig": True}

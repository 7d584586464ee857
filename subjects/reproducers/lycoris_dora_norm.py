"""lycoris-lora 4.1.3: DoRA's norm is part of the gradient; the paper (section 4.3) and peft take it as a constant.

Wants lycoris-lora alone.
"""

import torch
from lycoris.modules.locon import LoConModule
from torch import nn

torch.manual_seed(0)
layer = nn.Linear(12, 20, bias=False).double()
W = layer.weight.detach().clone()
module = LoConModule("name", layer, lora_dim=4, alpha=6, weight_decompose=True).double()
module.lora_up.weight.data.normal_()
module.apply_to()
x = torch.randn(5, 12, dtype=torch.float64)
layer(x).sum().backward()
got = module.lora_up.weight.grad
B, A = module.lora_up.weight.detach().requires_grad_(), module.lora_down.weight.detach()
grads = {}
for name in ("through", "constant"):
    B.grad = None
    V = W + 1.5 * B @ A
    norm = V.norm(dim=1, keepdim=True)
    norm = norm if name == "through" else norm.detach()
    (x @ (module.dora_scale.detach() / norm * V).T).sum().backward()
    grads[name] = B.grad.clone()
print({name: (got - grad).abs().max().item() for name, grad in grads.items()})
assert torch.allclose(got, grads["through"], atol=1e-9)
assert not torch.allclose(got, grads["constant"], atol=1e-3)

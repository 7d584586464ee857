"""torchtune 0.6.1: a DoRALinear's magnitude is uninitialised memory until a method is called by hand: torch.empty.

Wants torchtune alone. The bytes in it differ from run to run, so the source is what is looked at.
"""

import inspect

from torchtune.modules.peft import DoRALinear

made, later = (inspect.getsource(f) for f in (DoRALinear.__init__, DoRALinear.initialize_parameters))
print([line.strip() for line in made.splitlines() if "magnitude" in line])
assert "self.magnitude = nn.Parameter(torch.empty(out_dim))" in made
assert "magnitude" not in later

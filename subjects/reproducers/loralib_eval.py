"""loralib 0.1.2: eval() and train() return None, where those of nn.Module return the module. Wants loralib alone."""

import loralib

layer = loralib.Linear(12, 20, r=4)
print("eval() returns", layer.eval(), "and train() returns", layer.train())
assert layer.eval() is None
assert layer.train() is None

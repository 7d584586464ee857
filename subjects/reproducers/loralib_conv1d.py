"""loralib 0.1.2: Conv1d and Conv3d raise at their first call: their update has Conv2d's shape. Wants loralib alone."""

import loralib
import torch

said = {}
for kind, dims in ((loralib.Conv1d, 1), (loralib.Conv2d, 2), (loralib.Conv3d, 3)):
    try:
        said[dims] = str(tuple(kind(6, 8, 3, r=2)(torch.randn(2, 6, *[9] * dims)).shape))
    except RuntimeError as error:
        said[dims] = str(error)
print(said)
assert said[2] == "(2, 8, 7, 7)"
assert "is invalid for input of size" in said[1]
assert "is invalid for input of size" in said[3]

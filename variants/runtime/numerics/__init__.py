"""Numbers only: spectra, products with thin matrices, what an affine map amounts to. Nothing here knows a model."""

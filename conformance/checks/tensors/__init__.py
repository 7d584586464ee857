"""Which tensors there are, which of them train and matter, and what is refused."""

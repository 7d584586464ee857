"""lora-pytorch."""

"""What every variant shares: specs, targets, attach and detach, save and load."""

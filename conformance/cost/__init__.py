"""What the variants cost beside the bare layer and beside peft: counts that do not vary, and times that do."""

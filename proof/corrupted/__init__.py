"""A corrupted peft: what the cards say when the reference itself is wrong, with and without the lock."""

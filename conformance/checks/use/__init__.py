"""Other ways to use an adapted layer: quantised, compiled, copied, exchanged with peft."""

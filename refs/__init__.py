"""The references: live peft layers, closed forms in NumPy, and a lock of what each of them is."""

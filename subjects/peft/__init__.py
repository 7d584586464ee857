"""peft itself: its layers as subjects, which the authors' methods and the closed forms judge."""

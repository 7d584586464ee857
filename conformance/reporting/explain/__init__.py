"""One case in full: question, formulas, runnable code, figures, the limit's origin, what seeded faults showed there."""

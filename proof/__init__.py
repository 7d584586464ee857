"""How sensitive the harness is: the faults it must detect and the correct code it must accept, counted."""

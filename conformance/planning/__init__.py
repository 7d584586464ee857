"""What is to be measured: entries x references x checks x probes."""

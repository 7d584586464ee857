"""What is run at the start of each process of an emulated machine, one file each; loaded by path."""

"""The authors' methods written down from their mathematics, one file each, and the golden vectors they reproduce."""

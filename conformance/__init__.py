"""The harness: what is asked of a variant, how it is compared with its references, and what the answers mean."""

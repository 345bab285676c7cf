"""Classical recommenders, as a plugin of recsys_core."""

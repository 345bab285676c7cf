"""Public data sets, as a plugin of recsys_core."""

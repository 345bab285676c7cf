"""An example plugin of recsys_core."""

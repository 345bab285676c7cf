"""Neural encoders and recommenders, as a plugin of recsys_core; training them needs the extra ``torch``."""

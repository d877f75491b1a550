"""Properties that hold for whatever happens, and naive variants for which they do not."""

"""The truth: sealed files, numbered commits that name them, and whoever may touch them."""

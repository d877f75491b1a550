"""`addons.duckdb`: built from a commit, and the questions that it answers."""

"""Where exported data lives: the Parquet archive, its commits, and the published DuckDB file."""

"""The warehouse: real Parquet, DuckDB, processes and disks in temporary folders."""

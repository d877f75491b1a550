"""Tests of the stages, against the sandbox over a real socket and real Parquet and DuckDB files."""

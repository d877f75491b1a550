"""Tests of Dagster's web UI in a real browser."""

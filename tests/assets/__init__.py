"""Tests of the Dagster assets and the command line."""

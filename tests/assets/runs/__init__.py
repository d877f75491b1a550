"""Tests of runs in Dagster."""

"""Tests of how contents are read."""

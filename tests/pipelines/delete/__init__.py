"""Tests of deletion."""

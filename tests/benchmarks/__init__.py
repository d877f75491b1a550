"""Tests of the benchmarks: what they measure with must itself be right."""

"""Trials: programs that run for as long as they are told to; the suite runs a sample of each."""

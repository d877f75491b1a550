"""Whose results an archive is for, and when the list of each account was read."""

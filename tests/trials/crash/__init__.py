"""Crash safety: kills, failing disks and power cuts at every state-changing system call."""

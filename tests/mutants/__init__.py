"""Deliberate bugs, one a patch, and the proof that the tests catch every one."""

"""Schemas that change: what `flowd-gen diff` says, and whether that is what happens."""

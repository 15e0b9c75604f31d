"""Faults in a schema: where they are, what is wrong, and what to write instead."""

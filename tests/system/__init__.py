"""Whole systems: faults, chaos and a model of delivery."""

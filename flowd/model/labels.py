"""The fields of a job whose values are labels of metrics: `label = true` in its schema."""

from __future__ import annotations

from enum import Enum
from typing import Final

from flowd.model.job import Job

__all__ = ["MAX_COMBINATIONS", "TAKEN", "labels_of"]

TAKEN: Final = frozenset(
    (
        "queue",
        "group",
        "server",
        "result",
        "le",
        "quantile",
        "job",
        "instance",
        "flowd_process",
    )
)
"""Labels of flowd's metrics, or that Prometheus sets itself."""

MAX_COMBINATIONS: Final = 100
"""How many combinations of values the labels of one job may have."""


def labels_of(job: Job) -> dict[str, str]:
    """The labels of a job and their values; None, and what is no member, is empty."""
    values = ((name, getattr(job, name, None)) for name in type(job).SPEC.labels)
    return {
        name: str(value.value) if isinstance(value, Enum) else ""
        for name, value in values
    }

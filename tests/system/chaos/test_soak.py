"""The soak distinguishes what grows from what only comes and goes."""

from __future__ import annotations

import pytest

from tests.system.chaos.sampled import Sample
from tests.system.chaos.soak import grown

CALM = [
    Sample(12 + number % 3, 9 + number % 2, 2, 40_000 + number, number)
    for number in range(30)
]


def test_fluctuating_figures_have_not_grown() -> None:
    """Connections and handlers vary; memory may grow by less than a tenth."""
    assert not grown(CALM)


@pytest.mark.parametrize("name", ["descriptors", "tasks", "threads"])
def test_single_leak_is_detected(name: str) -> None:
    """A single one more, from the middle on, is a leak."""
    leaking = [
        each._replace(**{name: int(getattr(each, name)) + (number >= 15)})
        for number, each in enumerate(CALM)
    ]
    assert [line.split()[0] for line in grown(leaking)] == [name]


def test_memory_that_grows_by_a_tenth_is_seen() -> None:
    """Compared are the medians of the first and the last third."""
    leaking = [
        each._replace(kilobytes=40_000 + 250 * number)
        for number, each in enumerate(CALM)
    ]
    assert grown(leaking) == ["kilobytes grew from 41000 to 46000"]

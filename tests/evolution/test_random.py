"""Random changes of random schemas: what `diff` calls compatible is read, and as what it was."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from random import Random
from typing import Final

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from flowd import EncodeError, Job
from flowd_codegen.contract import Contract
from flowd_codegen.diff import diff
from flowd_codegen.diff_fields import paired
from flowd_codegen.schema import Field, Record, is_list, is_table
from flowd_codegen.schema import Job as JobModel
from tests.evolution.classes import classes
from tests.evolution.forms import changed, form, model
from tests.evolution.values import Maker

_PAIRS: Final = int(os.environ.get("FLOWD_FUZZ_PAIRS", "2000"))
_QUICK: Final = 5000
"""Above it chance is cheaper than to let Hypothesis choose, who then cannot simplify."""

_VALUES: Final = 6


@dataclasses.dataclass(frozen=True)
class _Way:
    """One schema writes and the other reads; `forward` where the old one writes."""

    writer: Contract
    reader: Contract
    forward: bool

    def paired(
        self, was: JobModel | Record, now: JobModel | Record
    ) -> dict[str, Field]:
        """The field that was written for each one that is read, as `diff` sees it."""
        if self.forward:
            return paired(was, now)
        # What is reserved counts in the newer schema only.
        names = {old.name: new for new, old in paired(now, was).items()}
        written = {field.name: field for field in was.fields}
        return {old: written[new] for old, new in names.items()}


def test_what_is_called_compatible_is_read() -> None:
    """No value fails or changes in the other schema where `diff` says it is read."""
    counts: Counter[str] = Counter()

    @settings(
        max_examples=_PAIRS,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        print_blob=True,
    )
    @given(st.randoms(use_true_random=_PAIRS > _QUICK))
    def pair(rng: Random) -> None:
        first = form(rng)
        old = model(first)
        # Most changes of a schema are none that the language refuses.
        news = (model(changed(first, rng)) for _ in range(5))
        new = next((one for one in news if one and one != old), None)
        assume(old and new)
        assert old
        assert new
        counts["pairs"] += 1
        before, after = Contract("old", old), Contract("new", new)
        broken = {aspect for one in diff(before, after) for aspect in one.breaks}
        with classes(old) as one, classes(new) as other:
            if "messages" not in broken:
                counts["messages"] += 1
                _read(rng, _Way(before, after, forward=True), one, other)
            if "workers" not in broken:
                counts["workers"] += 1
                _read(rng, _Way(after, before, forward=False), other, one)

    pair()
    print(counts)
    # Else the test would show nothing.
    assert counts["messages"] > counts["pairs"] // 4
    assert counts["workers"] > counts["pairs"] // 4


def _read(
    rng: Random,
    way: _Way,
    written: dict[str, object],
    read: dict[str, object],
) -> None:
    """Let the first side write some values, and the second read them."""
    writer = way.writer
    maker = Maker(rng, written, writer.records)
    reader: type[Job] = eval("Job", read)
    for _ in range(_VALUES):
        job: Job = eval("job", {"job": maker.instance(writer.jobs["Job"])})
        try:
            fields = job.to_fields()
        except EncodeError:
            continue
        assert _same(job, reader.from_fields(fields), way)


def _same(old: object, new: object, way: _Way) -> bool:
    """Whether a value is still what it was; what was None may be a default now."""
    if is_list(old) and is_list(new):
        pairs = zip(old, new, strict=True)
        return all(_same(one, other, way) for one, other in pairs)
    if is_table(old) and is_table(new):
        return all(_same(old[key], new[key], way) for key in old | new)
    if dataclasses.is_dataclass(old):
        # A field may be of another record now, which reads the same.
        names = (type(old).__name__, type(new).__name__)
        was, now = (
            side.records.get(name) or side.jobs[name]
            for side, name in zip((way.writer, way.reader), names, strict=True)
        )
        before = way.paired(was, now)
        return all(
            _same(
                getattr(old, before[field.name].attribute),
                getattr(new, field.attribute),
                way,
            )
            for field in now.fields
            if field.name in before
        )
    # NaN does not equal itself.
    return old in (None, new) or repr(old) == repr(new)

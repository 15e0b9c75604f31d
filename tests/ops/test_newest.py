"""Dead letters from the newest on, and how many there are of each error."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import chain

import pytest

from flowd import Job
from flowd.broker.session import connected
from flowd.broker.url import Address
from flowd.cli import main
from flowd.model.letter import Letter, read_letter
from flowd.ops import Queries
from flowd.ops.letters import LetterFilter, like_of
from flowd.ops.newest import letter_page, summarize
from tests.support.raw import Raw

GROUP = "senders"
OWN = (
    *("_dlq_id", "_dlq_reason", "_dlq_error", "_dlq_traceback"),
    *("_dlq_attempts", "_dlq_deliveries", "_dlq_enqueued", "_dlq_consumer"),
)


def add(raw: Raw, stream: str, ms: int, error: str, **fields: str | bytes) -> str:
    """A dead letter that died at this time."""
    raw("SADD", "flowd:queues", f"{stream}\n{GROUP}")
    values = ("1-1", "failed", error, "T" * 9_000, "1", "1", "1", "me")
    flat = chain(*fields.items(), *zip(OWN, values, strict=True))
    raw("XADD", f"{{{stream}}}:{GROUP}:dlq", f"{ms}-0", *flat)
    return f"{ms}-0"


def ids(letters: list[Letter[Job]]) -> list[str]:
    return [each.id for each in letters]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ValueError: 17", "ValueError: 18"),
        ("KeyError: 'a'", "KeyError: 'b c'"),
        ('no "x" here', 'no "y" here'),
        ("Reject: a@b.c is not wanted", "Reject: long.name@example.org is not wanted"),
        ("at 10.0.0.1:6379: refused", "at 10.0.0.22:6380: refused"),
        ("took 1.5 s", "took 12.25 s"),
        ("<Response [502]>", "<Response [503]>"),
        (
            "order 6e0f9a52-1111-4222-8333-abcdefabcdef lost",
            "order 0f0f9a52-9999-4222-8333-abcdefabcdef lost",
        ),
        ("one\n  two", "one two"),
    ],
)
def test_errors_that_differ_in_values_are_alike(one: str, other: str) -> None:
    """Numbers, quoted texts, addresses and long hexadecimal numbers do not count."""
    first, second = letter(one), letter(other)
    assert like_of(first) == like_of(second)


@pytest.mark.parametrize(
    ("one", "other"),
    [("ValueError: no", "TypeError: no"), ("cannot connect", "cannot read")],
)
def test_errors_of_other_words_are_not_alike(one: str, other: str) -> None:
    """Words count."""
    assert like_of(letter(one)) != like_of(letter(other))


def test_errors_of_other_reasons_are_not_alike() -> None:
    """The reason counts."""
    one = letter("no")
    assert like_of(one) != like_of(replace(one, reason="rejected"))


def letter(error: str) -> Letter[Job]:
    values = ("1-1", "failed", error, "", "1", "1", "1", "me")
    flat = [each.encode() for each in chain(*zip(OWN, values, strict=True))]
    return read_letter(b"5-0", flat, None)


async def test_summary_counts_letters_by_error(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """The most frequent first, with the times of the first and the last and the newest."""
    for ms in range(1_000, 1_250):
        add(raw, stream, ms, f"TimeoutError: after {ms} s", to="x")
    newest = add(raw, stream, 2_000, "KeyError: 'a'", to="x" * 100_000)
    async with connected(Address.of(redis_url)) as connection:
        queries = Queries(connection, stream, GROUP)
        found = await summarize(queries)
        some = await summarize(queries, scan=11)
        late = await summarize(
            queries, LetterFilter(since=found.groups[1].first - timedelta(seconds=0.5))
        )
    timeouts, other = found.groups
    assert (timeouts.like, timeouts.count) == ("failed: TimeoutError: after N s", 250)
    assert (timeouts.newest, timeouts.error) == ("1249-0", "TimeoutError: after 1249 s")
    assert (timeouts.first.timestamp(), timeouts.last.timestamp()) == (1.0, 1.249)
    assert (other.like, other.count, other.newest) == ("failed: KeyError: …", 1, newest)
    assert (found.looked, found.complete, found.others) == (251, True, 0)
    assert (some.looked, some.complete) == (11, False)
    assert [each.count for each in some.groups] == [10, 1]
    assert [each.count for each in late.groups] == [1]


async def test_summary_lists_a_hundred_errors(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Letters of others are counted together."""
    for number in range(130):
        word = "".join(chr(ord("g") + int(digit)) for digit in f"{number:03}")
        add(raw, stream, 1_000 + number, f"error {word}")
    async with connected(Address.of(redis_url)) as connection:
        found = await summarize(Queries(connection, stream, GROUP))
    assert (len(found.groups), found.others) == (100, 30)


async def test_pages_go_from_the_newest_to_the_oldest(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """Each letter is on one page, and large values are cut on the server."""
    for ms in range(1, 24):
        add(raw, stream, ms, f"no {ms % 2}", to=f"user{ms % 3}", body=b"x" * 50_000)
    async with connected(Address.of(redis_url)) as connection:
        queries = Queries(connection, stream, GROUP)
        seen: list[str] = []
        before = ""
        while True:
            page = await letter_page(
                queries, LetterFilter(), before=before, limit=10, scan=100, most=64
            )
            assert all(len(each.fields[b"body"]) == 64 for each in page.letters)
            seen += ids(page.letters)
            if not page.letters:
                break
            before = seen[-1]
    assert seen == [f"{ms}-0" for ms in range(23, 0, -1)]


async def test_filtered_page_says_where_to_go_on(
    redis_url: str, raw: Raw, stream: str
) -> None:
    """It looks at so many letters at most, also when none is meant."""
    for ms in range(1, 31):
        add(raw, stream, ms, "rare 1" if ms == 3 else "often", to=f"user{ms}")
    async with connected(Address.of(redis_url)) as connection:
        queries = Queries(connection, stream, GROUP)
        rare = LetterFilter(like="failed: rare N")
        page = await letter_page(queries, rare, limit=5, scan=20)
        assert (page.letters, page.looked, page.before) == ([], 20, "11-0")
        page = await letter_page(queries, rare, limit=5, scan=20, before=page.before)
        assert (ids(page.letters), page.before) == (["3-0"], "")
        long = "user7" + "x" * 2_000
        add(raw, stream, 31, "often", to=long)
        for value in ("user7", long):
            wanted = LetterFilter(fields={b"to": value.encode()})
            page = await letter_page(queries, wanted, limit=5, scan=100, most=10)
            assert len(page.letters) == 1


def test_summary_of_the_command_selects_by_its_text(
    redis_url: str, raw: Raw, stream: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--like` takes the error as `dlq summary` prints it."""
    for ms in range(1_000, 1_005):
        add(raw, stream, ms, f"ValueError: {ms}", to="x")
    add(raw, stream, 2_000, "OSError: [Errno 111]", to="x")
    own = ["--stream", stream, "--group", GROUP, "--url", redis_url]
    assert main(["dlq", "summary", *own]) == 0
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["count", "first", "last", "newest", "error"]
    assert first.split()[0] == "5"
    assert first.endswith("1004-0  failed: ValueError: N")
    assert second.endswith("2000-0  failed: OSError: [Errno N]")
    like = ["--like", "failed: ValueError: N"]
    assert main(["dlq", "purge", "--all", "--yes", *like, *own]) == 0
    assert capsys.readouterr().out == "5 jobs deleted\n"
    assert main(["dlq", "summary", "--json", *own]) == 0
    assert '"count": 1' in capsys.readouterr().out

"""What a schema calls secret is in no output of the command."""

from __future__ import annotations

import json
from dataclasses import replace

from flowd import Queue
from tests.house.sources import ROOT
from tests.support.dead_letters import raw_letters
from tests.support.jobs.vault import Vault
from tests.support.program import Output, Program
from tests.support.raw import Raw
from tests.support.secrets import full, leaks

_TYPED = ("--job", "tests.support.jobs.vault:Vault", "--app-dir", str(ROOT))
_PLAIN = ("--stream", "vault")


async def _die(job: Vault) -> None:
    raise ValueError(f"{job.token!r} {job.mapped} {job.login!r}")


async def _bury(url: str) -> None:
    rules = replace(Vault.SPEC.policy, max_retries=0)
    async with Queue(Vault, _die, url=url, policy=rules) as queue:
        await queue.enqueue(full())
        queue.run()
        await queue.drain()


def _all(flowd: Program, *queue: str) -> list[Output]:
    """Every view of the dead letters, and of the queues."""
    listed = flowd("dlq", "list", *queue)
    letter = listed.out.splitlines()[1].split()[0]
    return [
        listed,
        flowd("stats"),
        flowd("stats", "--json"),
        flowd("dlq", "list", *queue, "--json"),
        flowd("dlq", "list", *queue, "--where", "ValueError"),
        flowd("dlq", "show", letter, *queue),
        flowd("dlq", "show", letter, *queue, "--json"),
        flowd("doctor"),
    ]


async def test_no_view_shows_one(flowd: Program, redis_url: str) -> None:
    """With the class and without it, for people and as JSON."""
    await _bury(redis_url)
    for queue in (_TYPED, _PLAIN):
        for done in _all(flowd, *queue):
            assert not leaks(done.out + done.err)


async def test_the_class_shows_what_is_no_secret(
    flowd: Program, redis_url: str
) -> None:
    """A field that the class names is shown, one that it hides is `<secret>`."""
    await _bury(redis_url)
    letter = json.loads(flowd("dlq", "list", *_TYPED, "--json").out)
    assert letter["fields"]["open"] == "seen"
    assert letter["fields"]["token"] == letter["fields"]["login"] == "<secret>"


async def test_values_without_a_class_are_shown_as_sizes(
    flowd: Program, redis_url: str
) -> None:
    """Secrets are unknown without the class: values are shown only on request."""
    await _bury(redis_url)
    plain = json.loads(flowd("dlq", "list", *_PLAIN, "--json").out)
    assert plain["fields"]["open"] == "<4 bytes>"
    asked = json.loads(flowd("dlq", "list", *_PLAIN, "--json", "--raw").out)
    assert asked["fields"]["open"] == "seen"
    assert leaks(str(asked))


async def test_a_field_that_the_class_lost_is_not_shown(
    flowd: Program, redis_url: str, raw: Raw
) -> None:
    """It may have been a secret; `--raw` shows it, and still hides what is one."""
    await _bury(redis_url)
    (kept,) = raw_letters(raw, "vault", "workers")
    raw("XADD", "{vault}:workers:dlq", "*", "gone", "hunter", "one", "1", *kept)
    letters = flowd("dlq", "list", *_TYPED, "--json").out
    shown = json.loads(letters.splitlines()[1])["fields"]
    assert (shown["gone"], shown["one"]) == ("<6 bytes>", "<1 byte>")
    asked = flowd("dlq", "list", *_TYPED, "--json", "--raw").out
    fields = json.loads(asked.splitlines()[1])["fields"]
    assert (fields["gone"], fields["token"]) == ("hunter", "<secret>")

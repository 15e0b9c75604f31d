"""`flowd dlq`: choose letters, correct them, redrive them at a rate, take them elsewhere."""

from __future__ import annotations

import base64
import json
import signal
from dataclasses import replace
from datetime import date
from itertools import chain

import pytest

from flowd import Gate, Queue, Reject, Unique
from flowd.model.keys import Keys
from flowd.model.text import count_of
from jobs.email import Email
from tests.house.sources import ROOT
from tests.support.dead_letters import GROUP, bury, raw_letters, reject
from tests.support.email_job import RecordingHandler
from tests.support.gated import gated
from tests.support.jobs.report import Format, Report
from tests.support.program import LIMIT, Program
from tests.support.raw import Raw
from tests.support.waiting import wait_until

DEAD = "{emails}:senders:dlq"
EMAIL = ("--job", "jobs.email:Email")
CRAWL = ("--job", "jobs.crawl:Crawl", "--stream", "emails", "--group", GROUP)


async def set_up(url: str, *names: str) -> None:
    """A dead letter for each name, in this order."""
    await bury(url, "emails", *(Email(to=name, subject="hi") for name in names))


async def bury_entry(url: str, raw: Raw, *fields: str | bytes) -> None:
    """A dead letter of an entry that its class cannot read."""
    async with Queue(Email, RecordingHandler(), url=url) as queue:
        raw("XADD", "emails", "*", *fields)
        queue.run()
        await queue.drain()


def names(flowd: Program, *words: str) -> list[str]:
    """Whom the letters are about that these options choose; `list` and `export` agree."""
    done = flowd("dlq", "list", "--raw", *words)
    assert done.code == 0, done.err
    listed = [line.split()[4] for line in done.out.splitlines()[1:]]
    lines = flowd("dlq", "export", "--raw", *words).out.splitlines()
    assert [json.loads(line)["fields"]["to"] for line in lines] == listed
    return listed


def enqueued(raw: Raw) -> list[bytes]:
    """Whom the jobs in the stream are about."""
    return [fields[b"to"] for _, fields in raw.entries("emails")]


async def test_filters(flowd: Program, redis_url: str, raw: Raw) -> None:
    """By the error or its kind, by fields, by age, and by all of them at once."""
    await set_up(redis_url, "old")
    (letter,) = raw_letters(raw, "emails")
    raw("DEL", DEAD)
    raw("XADD", DEAD, "1000-0", *letter)
    await set_up(redis_url, "anna", "bert", "carl")

    assert names(flowd) == ["old", "anna", "bert", "carl"]
    assert names(flowd, "--error", "bert is") == ["bert"]
    assert len(names(flowd, "--error", "rejected")) == 4
    assert names(flowd, "--field", "to=carl", "--field", "subject=hi") == ["carl"]
    assert names(flowd, "--field", "to=carl", "--field", "subject=ho") == []
    assert names(flowd, "--newer", "1h") == ["anna", "bert", "carl"]
    assert names(flowd, "--older", "1h30m") == ["old"]
    assert names(flowd, "--older", "1000000d") == []
    assert names(flowd, "--newer", "1h", "--error", "r", "-n", "2") == ["anna", "bert"]


async def test_a_scan_has_a_limit(flowd: Program, redis_url: str) -> None:
    """A search that ended early says so, one that saw all does not."""
    await set_up(redis_url, "anna", "bert", "carl")
    cut = flowd("dlq", "list", "--error", "carl", "--scan", "2")
    assert (cut.out, "--scan 0" in cut.err) == ("", True)
    whole = flowd("dlq", "list", "--error", "carl", "--scan", "3")
    assert (whole.out.count("\n"), whole.err) == (2, "")
    late = flowd("dlq", "list", "--newer", "0s", "--scan", "0")
    assert late.err == "no dead letters that match in emails (senders)\n"
    none = flowd("dlq", "list", "--error", "dora")
    assert none.err == "no dead letters that match in emails (senders)\n"


async def test_a_dry_run_changes_nothing(
    flowd: Program, redis_url: str, raw: Raw
) -> None:
    """It lists what would be done, and counts."""
    await set_up(redis_url, "anna", "bert")
    before = raw("XRANGE", DEAD, "-", "+")
    dry = ("--all", "--error", "anna", "--dry-run")
    redriven = flowd("dlq", "redrive", *dry)
    assert redriven.out.splitlines()[2:] == ["1 job would be put back into the stream"]
    assert " anna is not wanted" in redriven.out
    purged = flowd("dlq", "purge", *dry, "--json")
    assert json.loads(purged.out) == {"would_be_purged": 1}
    assert (raw("XRANGE", DEAD, "-", "+"), enqueued(raw)) == (before, [])


async def test_a_field_is_corrected(flowd: Program, redis_url: str, raw: Raw) -> None:
    """The jobs go back with another value; those that were not chosen stay."""
    await set_up(redis_url, "anna", "bert", "carl")
    chosen = ("--all", "--field", "to=bert", *EMAIL)
    done = flowd("dlq", "redrive", *chosen, "--set", "to=b=d", "--set", "body=x")
    assert (done.code, done.out) == (0, "1 job put back into the stream\n")
    ((_, fields),) = raw.entries("emails")
    assert (fields[b"to"], fields[b"body"]) == (b"b=d", b"x")
    assert names(flowd) == ["anna", "carl"]


async def test_an_older_job_is_corrected_as_one_of_today(
    flowd: Program, redis_url: str, raw: Raw
) -> None:
    """The names of `--set` are those of the newest version, and so is what goes back."""

    async def refuse(job: Report) -> None:
        raise Reject("not today")

    second = ("customer", "9", "day", "2026-01-02", "format", "csv", "password", "abc")
    async with Queue(Report, refuse, url=redis_url) as queue:
        raw("XADD", "report", "*", *second, "_v", "2")
        queue.run()
        await queue.drain()
    typed = ("--job", "tests.support.jobs.report:Report", "--app-dir", str(ROOT))
    done = flowd("dlq", "redrive", "--all", *typed, "--set", 'formats=["pdf"]')
    assert (done.code, done.out) == (0, "1 job put back into the stream\n")
    ((_, fields),) = raw.entries("report")
    assert b"password" not in fields
    assert Report.from_fields(fields) == Report(
        customer=9, days=[date(2026, 1, 2)], formats=[Format.PDF], token="abc"
    )


async def test_a_newer_job_is_not_corrected_as_an_older_one(
    flowd: Program, redis_url: str, raw: Raw
) -> None:
    """A class that does not know its version would drop what it cannot name."""
    await set_up(redis_url, "anna")
    ((_, fields),) = raw.entries(DEAD)
    raw("DEL", DEAD)
    raw("XADD", DEAD, "*", "_v", "3", *chain.from_iterable(fields.items()))
    done = flowd("dlq", "redrive", "--all", *EMAIL, "--set", "to=bert")
    assert done.code == 2
    assert "Email._v: the job is of version 3" in done.err
    assert (raw("XLEN", DEAD), enqueued(raw)) == (1, [])


async def test_poison_is_corrected(flowd: Program, redis_url: str, raw: Raw) -> None:
    """An entry that its class cannot read becomes one that it can, and runs."""
    recorder = RecordingHandler()
    await bury_entry(redis_url, raw, "to", "anna", "trace", "1")
    done = flowd("dlq", "redrive", "--all", *EMAIL, "--set", "subject=hi")
    assert done.code == 0, done.err
    async with Queue(Email, recorder, url=redis_url) as queue:
        queue.run()
        await queue.drain()

    assert recorder.done == ["anna"]
    assert raw("XLEN", DEAD) == 0


async def test_a_value_that_cannot_be_is_refused(
    flowd: Program, redis_url: str, raw: Raw
) -> None:
    """The class checks what was given, and nothing is redriven."""
    await bury_entry(redis_url, raw, "to", "anna")
    ((letter_id, _),) = raw.entries(DEAD)
    for words, said in (
        (("--set", "to=x"), "--set needs --job"),
        (("--set", "too=x", *EMAIL), "Email has no field 'too'"),
        (
            ("--set", "url=u", "--set", "priority=high", *CRAWL),
            "--set: Crawl.priority: ",
        ),
    ):
        for dry in ((), ("--dry-run",)):
            done = flowd("dlq", "redrive", "--all", *words, *dry)
            assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
            assert said in done.err
    for dry in ((), ("--dry-run",)):
        done = flowd("dlq", "redrive", "--all", *EMAIL, "--set", "to=x", *dry)
        assert (done.code, done.out[:7]) == (2, "0 jobs ")
        assert f"letter {letter_id}: Email.subject: required field" in done.err
    assert raw("XLEN", DEAD) == 1
    assert enqueued(raw) == []


async def test_a_letter_that_is_refused_is_named(
    flowd: Program, redis_url: str, raw: Raw
) -> None:
    """It keeps no other back, and stays; a dry run does not count it either."""
    await set_up(redis_url, "anna")
    foreign = raw("XADD", DEAD, "*", "to", "not a letter")
    assert isinstance(foreign, bytes)
    await set_up(redis_url, "bert")
    packed = raw("XADD", DEAD, "*", "_packed", "x", *_own_fields(raw))
    assert isinstance(packed, bytes)
    dry = flowd("dlq", "redrive", "--all", "--dry-run")
    done = flowd("dlq", "redrive", "--all")
    assert dry.code == done.code == 3
    assert dry.out.splitlines()[3:] == ["2 jobs would be put back into the stream"]
    assert done.out == "2 jobs put back into the stream\n"
    for each in (dry, done):
        first, second = each.err.splitlines()
        assert first.startswith(f"letter {foreign.decode()}: ")
        assert "not written by flowd" in first
        assert second.startswith(f"letter {packed.decode()}: ")
        assert "more than 1,000 fields" in second
    assert enqueued(raw) == [b"anna", b"bert"]
    assert [entry for entry, _ in raw.entries(DEAD)] == [
        foreign.decode(),
        packed.decode(),
    ]


async def test_a_redrive_names_those_whose_keys_are_taken(
    flowd: Program, redis_url: str, raw: Raw
) -> None:
    """It moves all others, says which jobs have the keys, and what helps."""
    job, place = gated(Gate(unique=Unique(fields=("to",)))), ("--stream", "emails")
    async with Queue(job, reject, url=redis_url, stream="emails") as queue:
        handle = queue.run()
        await queue.enqueue_bulk(job(to=f"{n}", subject="") for n in range(9))
        await queue.drain()
        await handle.shutdown()
        ids = {fields[b"to"]: letter for letter, fields in raw.entries(DEAD)}
        letters = [ids[b"%d" % n] for n in range(9)]
        holders = [
            await queue.enqueue(job(to=f"{n}", subject=""), delay=600)
            for n in range(1, 8)
        ]
    foreseen = flowd("dlq", "redrive", *letters[:2], *place, "--dry-run")
    assert (foreseen.code, foreseen.out.splitlines()[-1]) == (
        *(1, "1 job would be put back into the stream"),
    )
    named = flowd("dlq", "redrive", *letters[:2], *place, "--group", GROUP)
    assert (named.code, named.out) == (1, "1 job put back into the stream\n")
    assert named.err == (
        f"letter {letters[1]}: the job {holders[0]} has the key to=1\n"
        "1 letter not redriven: its `unique` key is taken; with --when-free it runs when"
        " the job that has it has ended\n"
    )
    assert foreseen.err == named.err.replace("not redriven", "would not be redriven")
    done = flowd("dlq", "redrive", "--all", "--rate", "100/s", *place)
    assert (done.code, done.out) == (1, "1 job put back into the stream\n")
    *_, more, why = lines = done.err.splitlines()
    assert [line.split(":")[0] for line in lines[:-2]] == [
        f"letter {letter}" for letter in sorted(letters[1:8])[:5]
    ]
    assert more == "and 2 letters more"
    assert why.startswith("7 letters not redriven: their `unique` keys are taken; with")
    done = flowd("dlq", "redrive", "--all", "--when-free", *place)
    assert (done.code, done.out) == (0, "7 jobs put back into the stream\n")


async def test_a_dry_run_of_a_redrive_foresees_which_keys_are_taken(
    flowd: Program, redis_url: str, raw: Raw
) -> None:
    """By other jobs, and by letters before them; nothing is changed."""
    job, place = gated(Gate(unique=Unique(fields=("to",)))), ("--stream", "emails")
    async with Queue(job, reject, url=redis_url, stream="emails") as queue:
        handle = queue.run()
        for to in ("a", "a", "b", "c"):
            await queue.enqueue(job(to=to, subject=""))
            await queue.drain()
        await handle.shutdown()
        holder = await queue.enqueue(job(to="b", subject=""), delay=600)
        before = (raw.entries(DEAD), raw("HGETALL", Keys("emails", GROUP).gate[0]))
        words = ("dlq", "redrive", "--all", *place)
        dry = flowd(*words, "--dry-run")
        patient = flowd(*words, "--dry-run", "--when-free", "--json")
        assert before == (
            raw.entries(DEAD),
            raw("HGETALL", Keys("emails", GROUP).gate[0]),
        )
    first, second, third, _ = raw.entries(DEAD)
    assert dry.code == 1
    assert dry.out.splitlines()[-1] == "2 jobs would be put back into the stream"
    assert dry.err.splitlines()[:2] == [
        f"letter {second[0]}: the job {first[1][b'_dlq_id'].decode()} has the key to=a",
        f"letter {third[0]}: the job {holder} has the key to=b",
    ]
    assert (patient.code, patient.out) == (0, '{"would_be_redriven": 4}\n')
    done = flowd(*words)
    assert (done.code, done.out) == (1, "2 jobs put back into the stream\n")
    assert done.err == dry.err.replace("would not be", "not")


def _own_fields(raw: Raw) -> list[bytes]:
    """What flowd wrote behind the fields of the newest letter."""
    return raw_letters(raw, "emails")[-1][-16:]


async def test_failed_redrive_reports_its_progress(
    flowd: Program, redis_url: str, raw: Raw
) -> None:
    """What would fail for every letter ends it, with the number of those before."""
    # At a letter a second, so many are not through before the group is there.
    await set_up(redis_url, *(f"number {n}" for n in range(40)))
    with flowd.start("dlq", "redrive", "--all", "--rate", "1/s") as running:
        await wait_until(lambda: raw("XLEN", "emails"), within=LIMIT)
        raw("XGROUP", "CREATE", "emails", "others", "0")
        assert running.end() == 3
    done = len(raw.entries("emails"))
    assert running.lines[0] == (
        f"{count_of(done, 'job')} put back into the stream before it broke off\n"
    )
    assert "SHARED" in running.lines[1] or "group" in running.lines[1]
    assert raw("XLEN", DEAD) == 40 - done


async def test_interrupted_redrive_reports_its_progress(
    flowd: Program, redis_url: str, raw: Raw
) -> None:
    """Ctrl-C ends a slow redrive, which says how many jobs are back."""
    await set_up(redis_url, "anna", "bert")
    with flowd.start("dlq", "redrive", "--all", "--rate", "1/m") as running:
        await wait_until(lambda: raw("XLEN", "emails") == 1, within=LIMIT)
        running.signal(signal.SIGINT)
        assert running.end() == 130
    assert running.lines == ["1 job put back into the stream before it broke off\n"]


async def test_a_stream_that_is_not_the_schemas(
    flowd: Program, redis_url: str, raw: Raw
) -> None:
    """With --job and --stream the class is for that stream."""
    await bury(redis_url, "letters", Email(to="anna", subject="hi"))
    place = (*EMAIL, "--stream", "letters")
    assert names(flowd, *place) == ["anna"]
    assert flowd("dlq", "redrive", "--all", *place, "--set", "to=bert").code == 0
    assert [fields[b"to"] for _, fields in raw.entries("letters")] == [b"bert"]


async def test_a_pace_is_kept(flowd: Program, redis_url: str, raw: Raw) -> None:
    """With a rate all are redriven all the same; a rate that is none is refused."""
    await set_up(redis_url, "anna", "bert", "carl")
    done = flowd("dlq", "redrive", "--all", "--rate", "6000/m", "--json")
    assert json.loads(done.out) == {"redriven": 3}
    for rate in ("0", "-1/s", "5/y", "5/", "fast", "nan", "inf"):
        done = flowd("dlq", "redrive", "--all", f"--rate={rate}")
        assert (done.code, f"'{rate}'" in done.err) == (2, True)


async def test_export_loses_no_byte(flowd: Program, redis_url: str, raw: Raw) -> None:
    """What is no text is base64, and nothing is cut: the letter can be made again."""
    given = {
        b"to": "ä".encode(),
        b"subject": b"x" * 100_000,
        b"\xff": b"a",
        b"b": b"\xfe",
    }
    words = chain.from_iterable(given.items())
    await bury_entry(redis_url, raw, *words, "_attempt", "none")
    line = json.loads(flowd("dlq", "export", "--raw").out)
    fields = {name.encode(): value.encode() for name, value in line["fields"].items()}
    decode = base64.b64decode
    fields |= {decode(name): decode(value) for name, value in line["bytes"]}

    assert fields == given | {b"_attempt": b"none"}
    assert line["reason"] == "undecodable"


@pytest.mark.parametrize(
    "words",
    [
        ("1-1", "--error", "x"),
        ("1-1", "--newer", "1h"),
        ("1-1", "--field", "to=x"),
        ("1-1", "--limit", "1"),
        ("1-1", "--from", "/dev/null"),
        ("--all", "--older", "soon"),
        ("--all", "--field", "to"),
        ("--all", "--limit", "many"),
    ],
)
async def test_a_choice_that_cannot_be_meant(
    flowd: Program, redis_url: str, raw: Raw, words: tuple[str, ...]
) -> None:
    """Nothing is done, and the exit code is 2."""
    await set_up(redis_url, "anna")
    for verb in (("redrive",), ("purge", "--yes")):
        assert flowd("dlq", *verb, *words).code == 2
    assert raw("XLEN", DEAD) == 1


async def test_the_letters_of_the_only_queue(flowd: Program, redis_url: str) -> None:
    """Where there is one queue, it need not be named."""
    await set_up(redis_url, "anna")
    assert names(flowd) == names(flowd, "--stream", "emails", "--group", GROUP)


async def test_a_letter_is_found_by_its_job(
    flowd: Program, redis_url: str, raw: Raw
) -> None:
    """The log and `flowd tail` know the job's id, so every verb takes it as well."""
    ids = await bury(
        redis_url, "emails", *(Email(to=each, subject="hi") for each in "abc")
    )
    delayed = "0123456789abcdef0123456789abcdef"
    fields = raw_letters(raw, "emails")[-1]
    fields[fields.index(b"_dlq_id") + 1] = delayed.encode()
    raw("XADD", DEAD, "*", *fields)
    for each in (*ids, delayed):
        shown = json.loads(flowd("dlq", "show", each, "--json").out)
        assert shown["job_id"] == each != shown["id"]
    assert flowd("dlq", "redrive", ids[1]).code == 0
    assert flowd("dlq", "purge", "--yes", ids[0], delayed).code == 0
    assert enqueued(raw) == [b"b"]
    ((_, left),) = raw.entries(DEAD)
    assert left[b"to"] == b"c"
    gone = flowd("dlq", "show", ids[0])
    assert (gone.code, f"no dead letter {ids[0]} " in gone.err) == (1, True)


async def test_the_search_for_a_job_has_a_limit(
    flowd: Program, redis_url: str, raw: Raw
) -> None:
    """It begins where the job was enqueued, ends after so many, and says so."""
    first, _, third = await bury(
        redis_url, "emails", *(Email(to=each, subject="hi") for each in "abc")
    )
    kept = raw_letters(raw, "emails")
    raw("DEL", DEAD)
    raw("XADD", DEAD, "1000-0", *kept[2])
    for fields in kept:
        raw("XADD", DEAD, "*", *fields)
    assert flowd("dlq", "show", first, "--scan", "1").code == 0
    cut = flowd("dlq", "show", third, "--scan", "2")
    assert (cut.code, "among 2 " in cut.err, "--scan 0" in cut.err) == (1, True, True)
    assert flowd("dlq", "show", third, "--scan", "0").code == 0


async def test_no_id_is_that_of_no_letter(
    flowd: Program, redis_url: str, raw: Raw
) -> None:
    """An empty word deletes nothing, not even what flowd did not write."""
    await set_up(redis_url, "anna")
    raw("XADD", DEAD, "*", "to", "not a letter")
    assert flowd("dlq", "purge", "--yes", "").code == 1
    assert raw("XLEN", DEAD) == 2


async def test_purge_deletes_exactly_the_exported_letters(
    flowd: Program, redis_url: str, raw: Raw
) -> None:
    """An export is what may be deleted; what came later, or is gone, is passed over."""
    await set_up(redis_url, *(f"{number}" for number in range(250)), "bert")
    everything = flowd("dlq", "export", "--raw").out.splitlines(keepends=True)
    flowd.write("letters.jsonl", "".join(everything[:-1]))
    flowd("dlq", "purge", "--yes", json.loads(everything[0])["id"])
    purge = ("dlq", "purge", "--all", "--yes", "--from")
    done = flowd(*purge, "letters.jsonl")
    assert (done.code, done.out) == (0, "249 jobs deleted\n")
    assert names(flowd) == ["bert"]

    flowd.write("empty", "")
    assert flowd(*purge, "empty").out == "0 jobs deleted\n"
    flowd.write("cut", everything[-1] + everything[-1][:40])
    flowd.write("other", '{"id": "1-1"}\n')
    for name in ("cut", "other", "missing"):
        done = flowd(*purge, name)
        assert (done.code, f"cannot read {name}: " in done.err) == (2, True)
    assert names(flowd) == ["bert"]


async def test_an_error_in_a_group_is_found(flowd: Program, redis_url: str) -> None:
    """By the kind of any leaf, however many and however long they are."""

    async def fail(job: Email) -> None:
        leaves: list[Exception] = [ValueError(f"{n} {job.to * 500}") for n in range(9)]
        late = ExceptionGroup("later", [TimeoutError("too late")])
        raise ExceptionGroup("several", [*leaves, late] if job.to == "late" else leaves)

    rules = replace(Email.SPEC.policy, max_retries=0)
    async with Queue(Email, fail, url=redis_url, policy=rules) as queue:
        await queue.enqueue_bulk(
            [Email(to=name, subject="hi") for name in ("late", "b")]
        )
        queue.run()
        await queue.drain()

    found = flowd("dlq", "export", "--raw", "--error", "TimeoutError").out.splitlines()
    assert [json.loads(line)["fields"]["to"] for line in found] == ["late"]

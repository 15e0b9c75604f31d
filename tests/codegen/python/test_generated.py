"""How generated classes behave: their errors, their secrets, their rules."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import pickle
import re
import traceback
from datetime import UTC, datetime
from typing import Any

import pytest

from flowd import DecodeError, EncodeError, FlowdError, Job, JobSpec, Policy


def _generated(case: str, *names: str) -> list[Any]:
    module = importlib.import_module(f"cases.{case}.expected.schema")
    return [getattr(module, name) for name in names]


(Aliases,) = _generated("aliases", "Aliases")
(Constraints,) = _generated("constraints", "Constraints")
(Crawl,) = _generated("crawl", "Crawl")
Mappers, Point, Stop = _generated("mappers", "Mappers", "Point", "Stop")
(Optionals,) = _generated("optionals", "Optionals")
Nothing, OnlyOptional = _generated("few_fields", "Nothing", "OnlyOptional")
Attachment, Empty, Message, Records = _generated(
    "records", "Attachment", "Empty", "Message", "Records"
)
Login, Secrets = _generated("secrets", "Login", "Secrets")

_CRAWL = {b"url": b"https://example.org", b"priority": b"7", b"tags": b"a,b"}
_SECRETS = {
    b"token": b"hunter2",
    b"login": b'{"user":"me","password":"hunter2"}',
    b"logins": b"[null]",
    b"open": b"x",
}


def _refused(fields: dict[bytes, bytes], job: type[Job]) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        job.from_fields(fields)
    return caught.value


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({b"priority": b" 7"}, "Crawl.priority: expected u32, got b' 7'"),
        (
            {b"priority": b"4294967296"},
            "Crawl.priority: not in 0..4294967295, got b'4294967296'",
        ),
        ({b"url": b"\xff"}, "Crawl.url: expected UTF-8 text, got b'\\xff'"),
        (
            {b"url": b"x" * 200 + b"\xff"},
            f"Crawl.url: expected UTF-8 text, got b'{'x' * 118}…",
        ),
    ],
)
def test_a_decode_error_says_what_and_where(
    changed: dict[bytes, bytes], said: str
) -> None:
    """Job, field, reason and the value, cut where it is long."""
    assert str(_refused({**_CRAWL, **changed}, Crawl)) == said


def test_missing_field_is_distinguished_from_an_unreadable_one() -> None:
    """The error lists what the entry has instead."""
    error = _refused({b"url": b"x", b"_id": b"1-0"}, Crawl)
    assert str(error) == (
        "Crawl.priority: required field is missing (fields present: 'url', '_id')"
    )
    assert (error.job, error.field, error.value) == ("Crawl", "priority", None)


def test_foreign_entry_is_described_briefly() -> None:
    """A thousand foreign fields make one line."""
    error = _refused({b"f%d" % number: b"" for number in range(1000)}, Crawl)
    assert str(error).endswith("'f18', 'f19' and 980 more)")


def test_an_encode_error_says_what_and_where() -> None:
    """What has no form on the wire is refused before anything is sent."""
    job = Crawl(url="\ud800", priority=1, tags=[])
    with pytest.raises(EncodeError) as caught:
        job.to_fields()
    assert str(caught.value) == "Crawl.url: not encodable as UTF-8, got '\\ud800'"
    assert isinstance(caught.value.__cause__, UnicodeEncodeError)
    job = dataclasses.replace(job, url="x", priority=-1)
    with pytest.raises(EncodeError, match=r"^Crawl\.priority: not in 0\.\."):
        job.to_fields()


def test_an_error_keeps_its_cause() -> None:
    """The user's own exception stays readable below ours."""
    fields = {b"where": b"zz", **dict.fromkeys((b"path", b"start"), b"")}
    with pytest.raises(DecodeError) as caught:
        Mappers.from_fields(fields)
    assert caught.value.reason.startswith("ValueError: not enough values")
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_long_reason_becomes_one_short_line() -> None:
    """A mapper's message of many lines does not fill the log."""
    cause = ValueError("\x1b[31m\n" * 1000)
    error = Crawl.SPEC.decode_error(b"url", {b"url": b""}, cause)
    assert len(str(error)) < 400
    assert str(error).isprintable()


@pytest.mark.parametrize(
    "changed",
    [
        {b"token": b"hunter2\xff"},
        {b"token": b"hun"},
        {b"pin": b"hunter2"},
        {b"keys": b'"hunter2'},
        {b"keys": b'{"hunter2":1}'},
        {b"login": b'{"user":"hunter2"}'},
        {b"login": b'{"user":1,"password":"hunter2"}'},
        {b"logins": b'[{"user":"me","password":["hunter2"]}]'},
    ],
)
def test_a_secret_is_in_no_error(changed: dict[bytes, bytes]) -> None:
    """Neither the message, nor its causes, nor a traceback shows the value."""
    error = _refused({**_SECRETS, **changed}, Secrets)
    assert error.value == "<secret>"
    assert error.__cause__ is None
    assert error.__context__ is None
    assert "hun" not in "".join(traceback.format_exception(error))


def test_a_secret_is_in_no_encode_error() -> None:
    """The same for what cannot be written."""
    job = dataclasses.replace(Secrets.from_fields(_SECRETS), token="hunter2\ud800")
    with pytest.raises(EncodeError) as caught:
        job.to_fields()
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("kind", [UnicodeError, ValueError, AttributeError])
def test_a_secret_is_in_no_error_of_a_mapper(kind: type[Exception]) -> None:
    """Whatever a mapper raised, with the value in its words, only its type is shown."""
    job, cause = Secrets.from_fields(_SECRETS), kind("cannot spell hunter2")
    for error in (
        Secrets.SPEC.encode_error(b"token", job, cause),
        Secrets.SPEC.decode_error(b"token", _SECRETS, cause),
    ):
        assert error.reason == f"refused with {kind.__name__}"
        assert "hunter2" not in "".join(traceback.format_exception(error))


def test_a_secret_is_in_no_repr() -> None:
    """Printing a job, or a record with a secret, shows only the other fields."""
    job = Secrets.from_fields(_SECRETS)
    assert job.token == "hunter2"
    assert job.login == Login(user="me", password="hunter2")
    assert "hunter2" not in repr(job)
    assert "open='x'" in repr(job)


def test_a_record_with_a_secret_makes_its_field_one() -> None:
    """The runtime redacts by wire name: aliases and holders are listed."""
    assert Secrets.SPEC.secrets == ("token", "pin", "hint", "keys", "login", "logins")
    assert Aliases.SPEC.secrets == ("token", "old-token")


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("priority", 10, "above 9"),
        ("offset", -11, "below -10"),
        ("ratio", float("nan"), "below 0.0"),
        ("to", "ab", "shorter than 3"),
        ("code", "ab1", "does not match"),
        ("note", "x" * 11, "longer than 10"),
        ("tags", [], "shorter than 1"),
        ("labels", dict.fromkeys("abcd", ""), "longer than 3"),
        ("mapped", ["a"] * 3, "longer than 2"),
    ],
)
def test_constraints_hold_when_writing(field: str, value: object, reason: str) -> None:
    """A value outside of its bounds is refused with the bound."""
    job = Constraints.from_fields(_BOUNDED)
    with pytest.raises(EncodeError, match=reason):
        dataclasses.replace(job, **{field: value}).to_fields()


_BOUNDED = {
    b"priority": b"9",
    b"offset": b"-10",
    b"ratio": b"1",
    b"price": b"0",
    b"to": b"a@b",
    b"code": b"AB12",
    b"blob": b"",
    b"tags": b'["a"]',
    b"mapped": b"a,b",
}


@pytest.mark.parametrize("rate", ["0.1", "99.3"])
def test_a_decimal_may_be_its_bound(rate: str) -> None:
    """Doubles are next to these numbers, and are not what is compared."""
    job = Constraints.from_fields({**_BOUNDED, b"rate": rate.encode()})
    assert job.to_fields()[b"rate"] == rate.encode()


@pytest.mark.parametrize(
    ("field", "raw", "reason"),
    [
        (b"priority", b"10", "above 9"),
        (b"ratio", b"NaN", "below 0.0"),
        (b"price", b"-0.01", "below 0"),
        (b"rate", b"0.0999", "below 0.1"),
        (b"rate", b"99.30001", "above 99.3"),
        (b"to", b"ab", "shorter than 3"),
        (b"code", b"AB12\n", "does not match"),
        (b"note", b"x" * 11, "longer than 10"),
        (b"tags", b"[]", "shorter than 1"),
        (b"mapped", b"a,b,c", "longer than 2"),
    ],
)
def test_constraints_hold_when_reading(field: bytes, raw: bytes, reason: str) -> None:
    """What another program wrote is judged by the same bounds."""
    with pytest.raises(DecodeError, match=reason):
        Constraints.from_fields({**_BOUNDED, field: raw})


def test_a_mappers_empty_text_is_none_for_an_optional_field() -> None:
    """Rust writes it for None; None is not written here."""
    fields = {
        b"where": b"1;2",
        b"maybe": b"",
        b"path": b"",
        b"start": b"0;0",
        b"shout": b"x",
        b"level": b"high",
        b"key": b"k",
        b"upper": b"a",
    }
    job = Mappers.from_fields(fields)
    assert job.maybe is None
    assert (job.where, job.path, job.level) == (Point(1, 2), [], 255)
    assert b"maybe" not in job.to_fields()


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("via", [], "Mappers.via: the text is empty, and would be read as None"),
        ("name", "", "Mappers.name: the text is empty, and would be read as None"),
        ("stop", Stop(via=[]), "Mappers.stop: at .via: the text is empty, and would"),
    ],
)
def test_a_mappers_empty_text_is_not_written_for_an_optional_field(
    field: str, value: object, said: str
) -> None:
    """It would be read as None without an error; without a reader it is not."""
    job = Mappers(
        where=Point(), path=[], shout="", level=0, key="k", upper="", shouted=""
    )
    written = job.to_fields()
    assert (written[b"path"], written[b"shouted"]) == (b"", b"")
    with pytest.raises(EncodeError, match=re.escape(said)):
        dataclasses.replace(job, **{field: value}).to_fields()


def test_a_present_but_empty_field_is_not_none() -> None:
    """As in Rust: an empty str is one, and an empty number is none at all."""
    assert OnlyOptional.from_fields({b"note": b""}).note == ""
    with pytest.raises(DecodeError, match=r"number: expected u16, got b''"):
        Optionals.from_fields({b"holes": b"[]", b"number": b""})


def test_a_keyword_of_rust_has_its_mark_in_the_key() -> None:
    """The derive writes the field `r#type` under that very key."""
    job = Aliases.from_fields({b"to": b"x", b"r#type": b"k", b"token": b"t"})
    assert job.kind == "k"
    assert list(job.to_fields()) == [b"to", b"r#type", b"size", b"token"]


def test_a_place_inside_a_record_is_named() -> None:
    """The way through lists and records to the bad value is in the reason."""
    good = Attachment(name="a", size=1, at=datetime(2026, 1, 31, tzinfo=UTC), tags=[])
    bad = dataclasses.replace(good, size=-1)
    message = Message(text="x", score=0, attachments=[good, bad])
    job = Records(message=message, history=[], nothing=Empty())
    with pytest.raises(EncodeError) as caught:
        job.to_fields()
    assert caught.value.reason == (
        "at .attachments[1].size: not in 0..18446744073709551615"
    )


def test_an_object_is_an_ordinary_frozen_dataclass() -> None:
    """It can be compared, copied, changed by `replace`, and pickled."""
    job = Crawl.from_fields(_CRAWL)
    assert copy.deepcopy(job) == job
    assert pickle.loads(pickle.dumps(job)) == job
    assert dataclasses.replace(job, priority=8) != job
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(job, "url", "x")  # noqa: B010 - type checkers forbid it already


def test_jobs_with_few_fields_are_allowed() -> None:
    """None at all, or only optional ones: the producer then writes `_v`."""
    for job in (Nothing, OnlyOptional):
        assert job.from_fields({}).to_fields() == {}


def test_a_class_of_another_generation_is_refused_at_import() -> None:
    """The advice says which of the two is to be renewed."""
    for number, advice in ((0, "run flowd-gen again"), (2, "upgrade flowd")):
        with pytest.raises(FlowdError, match=advice):
            JobSpec(name="A", fields=(), policy=Policy(stream="a"), format=number)

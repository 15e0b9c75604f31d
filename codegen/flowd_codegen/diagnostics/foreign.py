"""Terms of pydantic, SQL, protobuf and other tools, and what flowd has instead."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeAlias

__all__ = ["JOB_WORDS", "OPTIONS", "QUEUE_WORDS", "TOP_WORDS", "type_advice"]

_MAX_LENGTH: Final = 100
_MEMBERS: Final = "put each into a `[record.…]`, as in `Card | Sepa`; or use `json`"
_BETWEEN: Final = "the records of a union have `|` between them, as in `Card | Sepa`"
_CONSTRAINED: Final = 'limits are options: `{ type = "int", min = 0 }`'
_CHOICES: Final = 'write `one_of = ["a", "b"]`, or declare an `[enum.…]`'
_TEXT: Final = "write `str`, with a `pattern` or a `mapper`"


def _literal(match: re.Match[str]) -> str:
    values = match[1].replace("'", '"')
    return f"leave `type` out and write `one_of = [{values}]`"


def _sized(match: re.Match[str]) -> str:
    return f'write `{{ type = "str", max_len = {match[1]} }}`'


def _own(match: re.Match[str]) -> str:
    return f"a class of yours is `{match[1]}:{match[2]}`, with a `mapper`"


_Advice: TypeAlias = str | Callable[[re.Match[str]], str]

_ROWS: Final[tuple[tuple[str, _Advice], ...]] = (
    (r"(?:typing\.)?literal\[(.+)\]\??", _literal),
    (r".*\bliteral\b.*|enum|choice|choices", _CHOICES),
    (r"oneof|one_of|union", _MEMBERS),
    (r"(?-i:[A-Z])\w*(?:\s*(?:,|/|;|&|\|\||\bor\b)\s*(?-i:[A-Z])\w*)+\??", _BETWEEN),
    (r"\w+\??(?:\s*(?:,|/|;|\bor\b)\s*\w+\??)+", _MEMBERS),
    (r"(?:typing\.)?union\[.*\]\??", _MEMBERS),
    (r"(?:typing\.)?(?:named)?tuple\b.*", "write `list[…]`, or a `[record.…]` with a field for each item"),
    (r"(?:set|frozenset|list|array|sequence|vec|iterable|repeated)", "write the type of its items too: `list[str]`"),
    (r"(?:dict|map|mapping|hashmap)", "write the type of its values too: `dict[str, str]`"),
    (r"(?:typing\.)?(?:annotated\[.*\]|con\w+\(.*\)|con(?:str|int|float|list|bytes|decimal|date)|field\(.*\))", _CONSTRAINED),
    (r"(?:var|n?var|bp)?char2?\s*\((\d+)\)", _sized),
    (r"none|null|nonetype|void|nil|nullable|optional|maybe|option", "a value that may be absent has a `?`: `str?`"),
    (r"(?:email|name_?email)(?:str)?|\w*url|uri|path|filepath|ip\w*address|secretstr|regex|slug", _TEXT),
    (r"time|time of day|localtime", "there is no time of day: write `str` with a `pattern`, or `duration`"),
    (r"self|this", "write the name of the record"),
    (r"callable.*|function|lambda", "a job holds data: write a name, and look the function up in the handler"),
    (r"[#$].*", "write the name of an enum or record"),
    (r"\{.*", "write `dict[str, …]`, or the name of a `[record.…]`"),
    (r"(\w+(?:\.\w+)*)\.(\w+)", _own),
    (r"model|basemodel|dataclass|struct|message|record|class", "declare a `[record.…]` and write its name"),
)  # fmt: skip
_TYPES: Final = [
    (re.compile(pattern, re.IGNORECASE), advice) for pattern, advice in _ROWS
]


def type_advice(text: str) -> str:
    """What to write for a type of another language; empty where it is not known."""
    if len(text) > _MAX_LENGTH:
        return ""
    for pattern, advice in _TYPES:
        if found := pattern.fullmatch(text.strip()):
            return advice if isinstance(advice, str) else advice(found)
    scalar = r"[a-z]\w*(?:\[.*\])?"
    return (
        _MEMBERS if re.fullmatch(rf"{scalar}\??(?:\s*\|\s*{scalar}\??)+", text) else ""
    )


_OWN: Final = "a key of your own begins with `x-`, as `x-{}`"
_ABOVE: Final = "a bound that is not included is `above`; `min` is included"
_BELOW: Final = "a bound that is not included is `below`; `max` is included"
_NO_TABLE: Final = "a stream is no table: nothing compares or indexes its entries"
_CHECKED: Final = "check it in a `mapper`, or in the handler"

OPTIONS: Final = {
    **dict.fromkeys(("gt", "exclusive_minimum", "exclusiveMinimum"), _ABOVE),
    **dict.fromkeys(("lt", "exclusive_maximum", "exclusiveMaximum"), _BELOW),
    **dict.fromkeys(("multiple_of", "multipleOf", "validator", "validate"), _CHECKED),
    **dict.fromkeys(("check", "validators", "strict"), _CHECKED),
    **dict.fromkeys(("unique", "primary_key", "foreign_key", "index"), _NO_TABLE),
    **{
        word: _OWN.format(word.replace("_", "-").lower())
        for word in ("example", "examples", "title", "json_schema_extra", "env", "unit")
    },
    **dict.fromkeys(
        ("number", "id", "field_number"),
        "fields have no numbers: the name, or `key`, is what is on the wire",
    ),
    "const": "write `one_of` with one value",
    "repeated": "it is in the type: `list[str]`",
    "properties": "declare a `[record.…]` and write its name as `type`",
    "fields": "declare a `[record.…]` and write its name as `type`",
    "ref": "write the name of the record as `type`",
    "$ref": "write the name of the record as `type`",
    "discriminator": "the key that identifies the record of a union is `tag`",
    "validation_alias": "keys that are read too are `aliases`",
    "serialization_alias": "the name on the wire is `key`",
    "json_name": "the name on the wire is `key`",
    "frozen": "every job is frozen: leave it out",
    "repr": "write `secret = true` to keep a value out of `repr` and logs",
    "exclude": "write `secret = true` to keep a value out of `repr` and logs",
    "reserved": "it belongs to the job or record, as a list of keys",
    "size": "write `max_len`",
    "precision": _CHECKED,
}
"""For words that people try as options of a field, what to write."""

JOB_WORDS: Final = {
    "extends": "write `include` with the name of a `[group.…]`",
    "base": "write `include` with the name of a `[group.…]`",
    "schedule": "write `[job.N.cron.NAME]` with `at` or `every`",
    "crontab": "write `[job.N.cron.NAME]` with `at` or `every`",
    "name": "the name is in the header: `[job.Email]`",
    "handler": "a handler is a function of the worker's program, not of the schema",
}
"""The same for options of a job."""

QUEUE_WORDS: Final = {
    "queue": "write `stream`",
    "name": "write `stream`",
    "acks_late": "a job is always settled after its handler: leave it out",
    "autoretry_for": "every error is retried but `flowd.Reject`: leave it out",
    "retry_backoff": 'write `backoff = { kind = "exponential" }`',
    "soft_time_limit": "write `timeout`",
    **dict.fromkeys(("rate_limit", "throttle", "ratelimit"), "write `rate`"),
    **dict.fromkeys(
        ("max_concurrency", "concurrency_limit", "limit", "parallelism"),
        "write `concurrency = { limit = 2 }`",
    ),
    **dict.fromkeys(
        ("dedupe", "dedup", "deduplicate", "singleton", "unique_for", "lock"),
        'write `unique = ["url"]`, the fields that are the key',
    ),
    **dict.fromkeys(("fairness", "round_robin", "tenant"), 'write `fair = ["tenant"]`'),
    "priorities": "write `priority`",
    "ordered": 'write `concurrency = { per = ["key"], ordered = true }`',
    "countdown": "a delay is given when a job is enqueued",
    "eta": "a delay is given when a job is enqueued",
    "expires": "write `expires_after`",
    "prefetch": "it belongs to a deployment: pass `concurrency` to `Queue(…)`",
}
"""The same for options of a queue."""

TOP_WORDS: Final = {
    **dict.fromkeys(
        ("message", "task", "model", "class", "type", "struct", "table", "schema"),
        "a job is declared as `[job.Email.fields]`, a part of one as `[record.…]`",
    ),
    **dict.fromkeys(
        ("import", "include", "imports", "from"),
        "all files share one name space: use a name of another file as it is",
    ),
    "version": "it belongs to a job; the language's own is `flowd = 1`",
    "description": "write `doc`",
    "queue": "it belongs to a job: `[job.Email.queue]`",
    "fields": "fields belong to a job: `[job.Email.fields]`",
    "union": "a union is a type: `Card | Sepa`",
}
"""The same for keys at the top of a file."""

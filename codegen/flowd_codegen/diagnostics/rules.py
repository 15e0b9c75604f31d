"""The rules of `flowd-gen diff`: every change of a schema that affects jobs, workers or user code."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal, TypeAlias

__all__ = ["LEVELS", "RECIPES", "Aspect", "Level", "Recipe", "Rule"]

Aspect: TypeAlias = Literal["messages", "workers", "queue", "source"]
"""What a change breaks: `messages` that are queued, for new workers; old `workers`, by
new messages; the `queue` itself; the user's `source`."""

Level: TypeAlias = Literal["messages", "workers", "wire", "full", "source", "strict"]
"""How much `diff` looks at."""

LEVELS: Final[dict[Level, frozenset[Aspect]]] = {
    "messages": frozenset(["messages"]),
    "workers": frozenset(["workers"]),
    "wire": frozenset(["messages", "workers"]),
    "full": frozenset(["messages", "workers", "queue"]),
    "source": frozenset(["messages", "workers", "queue", "source"]),
    "strict": frozenset(["messages", "workers", "queue", "source"]),
}
"""What breaks a contract at each level; at `strict` warnings do too."""


class Rule(StrEnum):
    """The id of a rule, as in `allow` and in what `diff` prints."""

    FIELD_ADDED_REQUIRED = "FIELD_ADDED_REQUIRED"
    FIELD_REMOVED = "FIELD_REMOVED"
    FIELD_REMOVED_REQUIRED = "FIELD_REMOVED_REQUIRED"
    FIELD_NOW_OPTIONAL = "FIELD_NOW_OPTIONAL"
    FIELD_NOW_REQUIRED = "FIELD_NOW_REQUIRED"
    FIELD_KEY_CHANGED = "FIELD_KEY_CHANGED"
    FIELD_KEY_TAKEN = "FIELD_KEY_TAKEN"
    FIELD_ALIAS_REMOVED = "FIELD_ALIAS_REMOVED"
    FIELD_DEFAULT_CHANGED = "FIELD_DEFAULT_CHANGED"
    FIELD_TYPE_WIDENED = "FIELD_TYPE_WIDENED"
    FIELD_NARROWED = "FIELD_NARROWED"
    FIELD_TYPE_CHANGED = "FIELD_TYPE_CHANGED"
    FIELD_CODEC_CHANGED = "FIELD_CODEC_CHANGED"
    FIELD_SECRET_REMOVED = "FIELD_SECRET_REMOVED"  # noqa: S105 - the id of a rule
    FIELD_LABEL_CHANGED = "FIELD_LABEL_CHANGED"
    ENUM_VALUE_ADDED = "ENUM_VALUE_ADDED"
    ENUM_VALUE_REMOVED = "ENUM_VALUE_REMOVED"
    ENUM_VALUE_TAKEN = "ENUM_VALUE_TAKEN"
    ENUM_UNKNOWN_CHANGED = "ENUM_UNKNOWN_CHANGED"
    UNION_MEMBER_ADDED = "UNION_MEMBER_ADDED"
    UNION_MEMBER_REMOVED = "UNION_MEMBER_REMOVED"
    UNION_TAG_TAKEN = "UNION_TAG_TAKEN"
    RESERVED_REUSED = "RESERVED_REUSED"
    RESERVED_REMOVED = "RESERVED_REMOVED"
    JOB_REMOVED = "JOB_REMOVED"
    VERSION_NOT_BUMPED = "VERSION_NOT_BUMPED"
    VERSION_DROPPED = "VERSION_DROPPED"
    QUEUE_STREAM_CHANGED = "QUEUE_STREAM_CHANGED"
    QUEUE_STREAM_TAKEN = "QUEUE_STREAM_TAKEN"
    QUEUE_GROUP_CHANGED = "QUEUE_GROUP_CHANGED"
    QUEUE_LEASE_CHANGED = "QUEUE_LEASE_CHANGED"
    QUEUE_POLICY_CHANGED = "QUEUE_POLICY_CHANGED"
    GATE_ADDED = "GATE_ADDED"
    GATE_REMOVED = "GATE_REMOVED"
    GATE_KEY_CHANGED = "GATE_KEY_CHANGED"
    GATE_CHANGED = "GATE_CHANGED"
    CRON_CHANGED = "CRON_CHANGED"
    CRON_REMOVED = "CRON_REMOVED"
    SOURCE_RENAMED = "SOURCE_RENAMED"
    SOURCE_RETYPED = "SOURCE_RETYPED"


@dataclass(frozen=True, slots=True)
class Recipe:
    """A row of docs/evolution.md.

    Attributes:
        change: what was done to the schema.
        messages: what becomes of queued messages, in new workers.
        workers: what becomes of new messages, in old workers.
        fix: how to get there safely.
    """

    change: str
    messages: str
    workers: str
    fix: str


RECIPES: Final[dict[Rule, Recipe]] = {
    Rule.FIELD_ADDED_REQUIRED: Recipe(
        "a field without default is added",
        "fails",
        "ok",
        "add it with a default; deploy workers, then producers; drop the default once no older message is left",
    ),
    Rule.FIELD_REMOVED: Recipe(
        "an optional field, or one with a default, is removed",
        "ok",
        "ok; the old default applies, and a Rust reader fails",
        "add its key to `reserved`, so that no other field reads it from an old message",
    ),
    Rule.FIELD_REMOVED_REQUIRED: Recipe(
        "a required field is removed",
        "ok",
        "fails",
        "give it a default and deploy all workers; then remove it and add its key to `reserved`",
    ),
    Rule.FIELD_NOW_OPTIONAL: Recipe(
        "a field may be None now",
        "ok; an empty text of a mapper is read as None",
        "fails on None; in a job, an old default applies instead",
        "deploy all workers before a producer sends None",
    ),
    Rule.FIELD_NOW_REQUIRED: Recipe(
        "a field may not be None any more",
        "fails when absent; with a default, None is read as that",
        "ok; an empty text of a mapper is read as None",
        "give it a default that None may be read as (inside a record: drain the stream first, as None is written as null there)",
    ),
    Rule.FIELD_KEY_CHANGED: Recipe(
        "a field has another wire key",
        "ok with the old key in `aliases`, else fails, or None or the default",
        "ok if they have the new key in `aliases`, else fails, or None or the default",
        "add the new key to `aliases` and deploy all workers; then swap `key` and alias; later drop the alias and reserve it",
    ),
    Rule.FIELD_KEY_TAKEN: Recipe(
        "a field has the key or alias that another field had",
        "misread",
        "misread",
        "give each field a key that no other field has had; to rename only in Python, use new names",
    ),
    Rule.FIELD_ALIAS_REMOVED: Recipe(
        "an older key is not read any more, and not reserved",
        "ok, except messages older than the last schema",
        "ok",
        "when no message with it is left, add it to `reserved`",
    ),
    Rule.FIELD_DEFAULT_CHANGED: Recipe(
        "a default is changed or removed",
        "ok, as defaults are always written; without a default, messages from before the field fail",
        "ok",
        "nothing, if no message from before the field is left, or if such a message may get the new default",
    ),
    Rule.FIELD_TYPE_WIDENED: Recipe(
        "a type, limit or pattern allows more",
        "ok",
        "fails on the new values",
        "deploy all workers before a producer sends what the old type did not allow",
    ),
    Rule.FIELD_NARROWED: Recipe(
        "a type, limit or pattern allows less",
        "fails on values that are refused now",
        "ok",
        "let producers stop sending it, drain the stream, then narrow the type",
    ),
    Rule.FIELD_TYPE_CHANGED: Recipe(
        "a type is changed",
        "fails or is misread",
        "fails or is misread",
        "add a second, optional field of the new type; deploy workers that read both, then producers; later remove the first",
    ),
    Rule.FIELD_CODEC_CHANGED: Recipe(
        "a mapper or `encoding` is changed (`text` and `01` are no breaking change)",
        "fails or is misread",
        "fails or is misread",
        "add a second, optional field with the new text; if both mappers write the same text, `allow` this",
    ),
    Rule.FIELD_SECRET_REMOVED: Recipe(
        "a field is not `secret` any more",
        "ok, but logs, errors and commands show the values",
        "ok",
        "keep `secret`; or make sure that neither queued nor new values need it",
    ),
    Rule.FIELD_LABEL_CHANGED: Recipe(
        "a field is a label of metrics now, or is none any more",
        "ok",
        "ok; metrics of old and new programs differ during the deploy",
        "aggregate in rules and dashboards (`sum by`), so that a label more or less changes nothing",
    ),
    Rule.ENUM_VALUE_ADDED: Recipe(
        "an enum or `one_of` has a new value",
        "ok",
        "fails on the new value, unless the enum has `unknown`",
        "deploy all workers before a producer sends the new value; or give the enum `unknown`",
    ),
    Rule.ENUM_VALUE_REMOVED: Recipe(
        "a value is removed from an enum or `one_of`",
        "fails on that value, reserved or not; an enum with `unknown` reads it as that member",
        "ok",
        "let producers stop sending it, drain the stream, then remove it; add it to the enum's `reserved`, so that it is not used again",
    ),
    Rule.ENUM_VALUE_TAKEN: Recipe(
        "an enum's member has the text that another member had",
        "misread",
        "misread",
        "keep each member's text; a member with another meaning needs a new text",
    ),
    Rule.ENUM_UNKNOWN_CHANGED: Recipe(
        "another member of an enum, or none, is `unknown`",
        "ok; that member is read and can no longer be written",
        "ok",
        "give `unknown` a new member of its own, and keep it; else find where programs write the member that is only read now",
    ),
    Rule.UNION_MEMBER_ADDED: Recipe(
        "a union has a new member, or a member has a new tag",
        "ok",
        "fails on the new tag",
        "deploy all workers before a producer sends it; set `tag` to keep the tag of a renamed record",
    ),
    Rule.UNION_MEMBER_REMOVED: Recipe(
        "a member or its tag is removed from a union",
        "fails on that tag",
        "ok",
        "let producers stop sending it, drain the stream, then remove it; set `tag` to keep the tag of a renamed record",
    ),
    Rule.UNION_TAG_TAKEN: Recipe(
        "a record has the tag that another record of the union had",
        "misread",
        "misread",
        "keep each record's `tag`; a record with another meaning needs a new tag",
    ),
    Rule.RESERVED_REUSED: Recipe(
        "a reserved key, value or stream is in use again",
        "older messages fail or are misread",
        "fail or misread it",
        "choose another name",
    ),
    Rule.RESERVED_REMOVED: Recipe(
        "a reservation, or a job's entry in `removed`, is deleted",
        "ok",
        "ok",
        "keep it: it costs nothing",
    ),
    Rule.JOB_REMOVED: Recipe(
        "a job is removed",
        "no worker reads them",
        "ok",
        "keep the schema, marked `deprecated`, until stream, delayed set and dead letters are empty; then remove it and add its name to `removed`, which is no finding",
    ),
    Rule.VERSION_NOT_BUMPED: Recipe(
        "`version` is lowered or removed, or the wire format breaks and `version` stays the same",
        "as for the change itself",
        "as for the change itself",
        "raise `version` by one, and declare the version before it",
    ),
    Rule.VERSION_DROPPED: Recipe(
        "an older version is not read any more",
        "fails",
        "ok",
        "keep it in the schema until `flowd preflight` finds no message of it",
    ),
    Rule.QUEUE_STREAM_CHANGED: Recipe(
        "a job's stream is changed",
        "no worker reads them",
        "do not get them",
        "keep `stream`; or run workers for both streams until the old one is empty (`Queue` takes any stream for a class)",
    ),
    Rule.QUEUE_STREAM_TAKEN: Recipe(
        "a job uses the stream that another job had",
        "run as the wrong job, or are dead-lettered",
        "run them as the wrong job, or dead-letter them",
        "give each job a stream that no other job has had",
    ),
    Rule.QUEUE_GROUP_CHANGED: Recipe(
        "a job's group is changed",
        "wait: flowd refuses a stream with two groups",
        "wait in the same way",
        "keep `group`; or drain the stream, stop the workers, destroy the old group (`XGROUP DESTROY`), then deploy",
    ),
    Rule.QUEUE_LEASE_CHANGED: Recipe(
        "`claim_after` is changed",
        "ok",
        "ok, but jobs of the workers with the longer lease may run twice during the deploy",
        "stop all workers of the group before new ones start, or make handlers idempotent",
    ),
    Rule.QUEUE_POLICY_CHANGED: Recipe(
        "`timeout`, `max_retries`, `expires_after`, `backoff` or `starting_id` is changed",
        "ok",
        "ok",
        "nothing",
    ),
    Rule.GATE_ADDED: Recipe(
        "a queue has a new policy, as `unique` or `concurrency`",
        "ok; they are held to nothing",
        "ok; they do not know the policy",
        "nothing, if it need not hold during the deploy; else drain the stream and stop the old programs first",
    ),
    Rule.GATE_REMOVED: Recipe(
        "a queue has a policy no more",
        "ok; parked jobs start",
        "ok; they keep the policy as long as they run",
        "nothing, if jobs of one key may run together, or twice, from now on",
    ),
    Rule.GATE_KEY_CHANGED: Recipe(
        "other fields make the key of a policy, or one of them has another text",
        "run, with their old keys: a new key may have two unique jobs, or more than its limit",
        "ok; they use the old key",
        "drain the stream, then change the key; or `allow` this, if handlers are idempotent",
    ),
    Rule.GATE_CHANGED: Recipe(
        "a limit or another option of a policy is changed",
        "ok; they keep their level of priority and their cost",
        "ok; the limit of the worker that looks last holds",
        "nothing; drain the stream first where the order of what is queued matters",
    ),
    Rule.CRON_CHANGED: Recipe(
        "a schedule is new, or its times, rules or arguments are others",
        "ok",
        "ok; they are silent once the first new worker is set up",
        "nothing; a schedule whose times are others begins anew, and runs no tick of the past",
    ),
    Rule.CRON_REMOVED: Recipe(
        "a schedule is gone",
        "ok; jobs that it has enqueued run",
        "ok; they are silent once the first new worker is set up",
        "nothing, if the job is not to be enqueued by itself any more",
    ),
    Rule.SOURCE_RENAMED: Recipe(
        "a class, attribute, enum member or module is renamed, and the wire format stays the same",
        "ok",
        "ok",
        "rename it in the code that uses it",
    ),
    Rule.SOURCE_RETYPED: Recipe(
        "the Python type of an attribute is changed, and the wire format stays the same",
        "ok",
        "ok",
        "run mypy to find where it is used",
    ),
}
"""Every rule's meaning and way out; docs/evolution.md prints them."""

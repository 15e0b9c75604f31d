"""The rules of `flowd-gen diff`: every change of a schema that somebody may notice."""

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
    ENUM_VALUE_ADDED = "ENUM_VALUE_ADDED"
    ENUM_VALUE_REMOVED = "ENUM_VALUE_REMOVED"
    ENUM_VALUE_TAKEN = "ENUM_VALUE_TAKEN"
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
        "put its key into `reserved`, so that no other field reads it from an old message",
    ),
    Rule.FIELD_REMOVED_REQUIRED: Recipe(
        "a required field is removed",
        "ok",
        "fails",
        "give it a default and deploy all workers; then remove it and put its key into `reserved`",
    ),
    Rule.FIELD_NOW_OPTIONAL: Recipe(
        "a field may be None now",
        "ok; an empty text of a mapper is read as None",
        "fails on None; in a job, an old default applies instead",
        "deploy all workers before a producer sends None",
    ),
    Rule.FIELD_NOW_REQUIRED: Recipe(
        "a field may not be None any more",
        "fails when absent",
        "ok; an empty text of a mapper is read as None",
        "give it a default (inside a record: drain the stream first, None is written as null there)",
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
        "give each field a key of its own that no other has had; where only names in Python were to change, use names that are new",
    ),
    Rule.FIELD_ALIAS_REMOVED: Recipe(
        "an older key is not read any more, and not reserved",
        "ok, but for those older than the last schema",
        "ok",
        "when no message with it is left, put it into `reserved`",
    ),
    Rule.FIELD_DEFAULT_CHANGED: Recipe(
        "a default is another, or gone",
        "ok, as defaults are always written; without one, those from before the field fail",
        "ok",
        "nothing, if no message from before the field was added is left, or it may get the new default",
    ),
    Rule.FIELD_TYPE_WIDENED: Recipe(
        "a type, limit or pattern allows more",
        "ok",
        "fails on what is new",
        "deploy all workers before a producer sends what the old type did not allow",
    ),
    Rule.FIELD_NARROWED: Recipe(
        "a type, limit or pattern allows less",
        "fails on what is refused now",
        "ok",
        "let producers stop sending it, drain the stream, then narrow the type",
    ),
    Rule.FIELD_TYPE_CHANGED: Recipe(
        "a type is another",
        "fails or is misread",
        "fails or is misread",
        "add a second, optional field of the new type; deploy workers that read both, then producers; later remove the first",
    ),
    Rule.FIELD_CODEC_CHANGED: Recipe(
        "a mapper or `encoding` is another (`text` and `01` are no breaking change)",
        "fails or is misread",
        "fails or is misread",
        "add a second, optional field with the new text; if both mappers write the same text, `allow` this",
    ),
    Rule.FIELD_SECRET_REMOVED: Recipe(
        "a field is not `secret` any more",
        "ok, but logs, errors and commands show the values",
        "ok",
        "keep `secret`; or see that neither queued nor new values need it",
    ),
    Rule.ENUM_VALUE_ADDED: Recipe(
        "an enum or `one_of` has a new value",
        "ok",
        "fails on the new value, unless the enum has `unknown`",
        "deploy all workers before a producer sends the new value; or give the enum `unknown`",
    ),
    Rule.ENUM_VALUE_REMOVED: Recipe(
        "an enum or `one_of` has lost a value",
        "fails on that value, reserved or not; with `unknown` it is read as that",
        "ok",
        "let producers stop sending it, drain the stream, then remove it; an enum's `reserved` keeps it from coming back",
    ),
    Rule.ENUM_VALUE_TAKEN: Recipe(
        "an enum's member has the text that another member had",
        "misread",
        "misread",
        "keep each member's text; a member that means something else needs a text of its own",
    ),
    Rule.UNION_MEMBER_ADDED: Recipe(
        "a union has a new member, or a member another tag",
        "ok",
        "fails on the new tag",
        "deploy all workers before a producer sends it; a renamed record keeps its tag with `tag`",
    ),
    Rule.UNION_MEMBER_REMOVED: Recipe(
        "a union has lost a member, or a member its tag",
        "fails on that tag",
        "ok",
        "let producers stop sending it, drain the stream, then remove it; a renamed record keeps its tag with `tag`",
    ),
    Rule.UNION_TAG_TAKEN: Recipe(
        "a record has the tag that another record of the union had",
        "misread",
        "misread",
        "keep each record's `tag`; a record that means something else needs a tag of its own",
    ),
    Rule.RESERVED_REUSED: Recipe(
        "a key, value or stream that was reserved is in use again",
        "older ones fail or are misread",
        "older ones fail or misread it",
        "choose another name",
    ),
    Rule.RESERVED_REMOVED: Recipe(
        "a reservation, or a job's place in `removed`, is gone",
        "ok",
        "ok",
        "keep it: it costs nothing",
    ),
    Rule.JOB_REMOVED: Recipe(
        "a job is gone",
        "nobody reads them",
        "ok",
        "keep the schema, marked `deprecated`, until stream, delayed set and dead letters are empty; then remove it and write its name into `removed`, which no finding follows",
    ),
    Rule.VERSION_NOT_BUMPED: Recipe(
        "`version` is lower or gone, or something breaks and it is the same",
        "as the change that it belongs to",
        "as the change that it belongs to",
        "raise `version` by one, and declare the version before it",
    ),
    Rule.VERSION_DROPPED: Recipe(
        "an older version is not read any more",
        "fails",
        "ok",
        "keep it in the schema until `flowd preflight` finds no message of it",
    ),
    Rule.QUEUE_STREAM_CHANGED: Recipe(
        "a job's stream is another",
        "nobody reads them",
        "do not get them",
        "keep `stream`; or run workers for both until the old one is empty, `Queue` takes one class and any stream",
    ),
    Rule.QUEUE_STREAM_TAKEN: Recipe(
        "a job is on the stream that another job had",
        "run as the wrong job, or are dead-lettered",
        "run them as the wrong job, or dead-letter them",
        "give each job a stream of its own that no other job has had",
    ),
    Rule.QUEUE_GROUP_CHANGED: Recipe(
        "a job's group is another",
        "wait: flowd refuses a stream with two groups",
        "wait in the same way",
        "keep `group`; or drain the stream, stop the workers, destroy the old group (`XGROUP DESTROY`), then deploy",
    ),
    Rule.QUEUE_LEASE_CHANGED: Recipe(
        "`claim_after` is another",
        "ok",
        "ok, but jobs of those with the longer lease may run twice during the deploy",
        "stop all workers of the group before new ones start, or let handlers bear a second run",
    ),
    Rule.QUEUE_POLICY_CHANGED: Recipe(
        "`timeout`, `max_retries`, `backoff` or `starting_id` is another",
        "ok",
        "ok",
        "nothing",
    ),
    Rule.SOURCE_RENAMED: Recipe(
        "a class, attribute, enum member or module has another name, and the wire is the same",
        "ok",
        "ok",
        "rename it in the code that uses it",
    ),
    Rule.SOURCE_RETYPED: Recipe(
        "the Python type of an attribute is another, and the wire is the same",
        "ok",
        "ok",
        "let mypy show where it is used",
    ),
}
"""Every rule's meaning and way out; docs/evolution.md prints them."""

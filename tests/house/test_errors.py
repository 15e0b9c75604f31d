"""Every error of redis-py becomes one of flowd's."""

from __future__ import annotations

import inspect
import re

import pytest
import redis.exceptions

from flowd import errors
from flowd.refusal import refusal

ANSWERS = [
    ("NOGROUP No such key 's' or consumer group 'g'", errors.GroupMissing),
    ("ERR Error running script: @user_script:1: NOGROUP x", errors.GroupMissing),
    ("UNBLOCKED the stream key no longer exists", errors.GroupMissing),
    ("UNBLOCKED force unblock from blocking operation", errors.NotReady),
    ("WRONGTYPE Operation against a key", errors.WrongKeyType),
    ("NOPERM this user has no permissions", errors.AccessDenied),
    ("MISCONF Redis is configured to save", errors.NotReady),
    ("READONLY You can't write against a read only replica.", errors.NotReady),
    ("NOREPLICAS Not enough good replicas", errors.NotReady),
    ("BUSY Redis is busy running a script", errors.NotReady),
    ("OOM command not allowed when used memory > 'maxmemory'", errors.QueueFull),
    ("SHARED stream is also read by group x", errors.StreamShared),
    (
        "ERR The ID is equal or smaller than the target stream top item",
        errors.IdNotIncreasing,
    ),
    ("ERR DB index is out of range", errors.FatalError),
    ("ERR something else", errors.ServerError),
]


@pytest.mark.parametrize(("text", "kind"), ANSWERS)
def test_an_answer_is_named(text: str, kind: type[errors.ServerError]) -> None:
    """What a server answers becomes the error that says what to do."""
    assert type(refusal(redis.exceptions.ResponseError(text))) is kind
    assert type(refusal(text)) is kind


def test_every_error_of_redis_py_is_mapped() -> None:
    """No error that redis-py can raise reaches a user as it is."""
    for _, error in inspect.getmembers(redis.exceptions, inspect.isclass):
        if issubclass(error, redis.exceptions.RedisError):
            assert isinstance(refusal(error("1 host:1")), errors.ServerError)


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    """The module's docstring draws each error under the one it derives from."""
    stack: list[str] = []
    drawn: dict[str, str] = {}
    for line in (inspect.getdoc(errors) or "").splitlines():
        found = re.match(r"^([│├└─ ]*)(\w+)(?:  |$)", line)
        if found and inspect.isclass(getattr(errors, found[2], None)):
            depth = len(found[1]) // 4
            stack[depth:] = [found[2]]
            drawn[found[2]] = stack[depth - 1] if depth else ""
    assert set(drawn) == set(errors.__all__)
    for name, parent in drawn.items():
        if parent:
            assert getattr(errors, parent) in getattr(errors, name).__bases__

"""Every error of redis-py becomes one of flowd's."""

from __future__ import annotations

import inspect
import re

import pytest

from flowd import errors
from flowd.broker.refusals import CommandUnknown, KeyMissing, is_demotion, refusal

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
    ("SHARED stream s of group y is also read by group x", errors.StreamShared),
    ("BUSYGROUP Consumer Group name already exists", errors.CommandRefused),
    ("WRONGPASS invalid username-password pair.", errors.AccessDenied),
    ("ERR max number of clients reached", errors.CommandRefused),
    (
        "EXECABORT Transaction discarded because of: READONLY You can't write",
        errors.NotReady,
    ),
    (
        "ERR The ID is equal or smaller than the target stream top item",
        errors.IdNotIncreasing,
    ),
    ("ERR DB index is out of range", errors.FatalError),
    ("ERR value is not an integer or out of range", errors.FatalError),
    ("ERR wrong number of arguments for 'xadd' command", errors.FatalError),
    ("ERR syntax error", errors.FatalError),
    ("ERR Unknown Redis command called from script", CommandUnknown),
    ("ERR something else", errors.CommandRefused),
    ("ERR no such key", KeyMissing),
]


# As 6.2, 7.0 and Valkey 9 say what a command inside a script was refused; the last is
# what `pcall` returns on 6.2.
_CALL = "ERR Error running script (call to f_fa1761cfa217ca5e501e9d25c85f2ba8ed7a4a99)"
WRAPPED = [
    f"{_CALL}: @user_script:1: {{}}",
    f"{_CALL}: @user_script:1: @user_script: 1: -{{}}",
    "{} script: fa1761cfa217ca5e501e9d25c85f2ba8ed7a4a99, on @user_script:1.",
    "{} script: on @user_script:1.",
    "@user_script: 1: -{}\r\n",
]

# Answers that end in what users chose: a name of a user, a stream, a key or a group.
QUOTING = [
    ("NOGROUP No such key '{}' or consumer group '{}'", errors.GroupMissing),
    (
        "NOPERM User {} has no permissions to run the 'xlen' command",
        errors.AccessDenied,
    ),
    ("ERR ACL failure in script: User {} has no permissions", errors.AccessDenied),
    ("SHARED stream s of group y is also read by group {}", errors.StreamShared),
    ("WRONGTYPE {}: Operation against a key", errors.WrongKeyType),
    ("ERR unknown command '{}', with args beginning with: '{}'", CommandUnknown),
    ("ERR user_script:1: {} script: on @user_script:1.", errors.CommandRefused),
]
NAMES = [text.partition(" ")[0] for text, _ in ANSWERS] + ["DB index", "can't"]


@pytest.mark.parametrize("shape", WRAPPED)
@pytest.mark.parametrize(("text", "kind"), ANSWERS)
def test_an_answer_is_named_inside_a_script(
    text: str, kind: type[errors.ServerError], shape: str
) -> None:
    """However a server wraps what a command in a script was refused, it is the same."""
    assert type(refusal(shape.format(text))) is kind


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("text", "kind"), QUOTING)
def test_a_name_in_an_answer_means_nothing(
    text: str, kind: type[errors.ServerError], name: str
) -> None:
    """A stream that is called BUSY or OOM is no reason to wait."""
    answer = refusal(text.format(name, name))
    assert type(answer) is kind
    assert not is_demotion(answer)


@pytest.mark.parametrize("shape", ["{}", *WRAPPED])
@pytest.mark.parametrize(
    ("text", "demoted"),
    [
        ("READONLY You can't write against a read only replica.", True),
        ("MASTERDOWN Link with MASTER is down", True),
        ("UNBLOCKED force unblock from blocking operation", True),
        ("ERR WAITAOF cannot be used with replica instances.", True),
        ("MISCONF READONLY", False),
        ("LOADING Redis is loading the dataset in memory", False),
        ("NOREPLICAS Not enough good replicas to write.", True),
    ],
)
def test_demotion_is_distinguished_from_other_refusals(
    text: str, demoted: bool, shape: str
) -> None:
    """What a replica answers, or a primary without replicas, which may have been cut off."""
    assert is_demotion(refusal(shape.format(text))) is demoted


@pytest.mark.parametrize(("text", "kind"), ANSWERS)
def test_an_answer_is_named(text: str, kind: type[errors.ServerError]) -> None:
    """What a server answers becomes the error that says what to do."""
    assert type(refusal(text)) is kind


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

"""What a role does not need is refused, in a script as well."""

from __future__ import annotations

import re

import pytest

from flowd import AccessDenied, Producer, Queue
from flowd.embedded import Server
from jobs.crawl import Crawl
from tests.ops.page import ROLES, log_in, url_of
from tests.support.raw import Raw, RawError

# What a server says of a command, and what each generation says of one in a script.
REFUSED = "NOPERM|ACL failure in script|The user executing the script"

SHARED = (
    "FLUSHALL",
    "FLUSHDB",
    "KEYS *",
    "SCAN 0",
    "CONFIG SET maxmemory 1",
    "SCRIPT LOAD return",
    "SCRIPT FLUSH",
    "ACL LIST",
    "ACL SETUSER worker on",
    "CLIENT LIST",
    "CLIENT KILL TYPE normal",
    "SHUTDOWN",
    "MONITOR",
    "REPLICAOF NO ONE",
    "XGROUP DESTROY emails senders",
    "RENAME emails mails",
    "XADD crawl * f v",
    "XADD {crawl}:senders:dlq * f v",
    "EVAL return{redis.call('XADD','crawl','*','f','v')} 0",
)

ALONE = {
    "producer": (
        "XREADGROUP GROUP senders me STREAMS emails >",
        "XRANGE emails - +",
        "XLEN emails",
        "XDEL emails 1-1",
        "XTRIM emails MAXLEN 0",
        "EVAL return{redis.call('XTRIM',KEYS[1],'MAXLEN',0)} 1 emails",
        "XACK emails senders 1-1",
        "DEL emails",
        "HGETALL {emails}:delayed:jobs",
        "HGET {emails}:delayed:jobs a",
        "ZRANGE {emails}:delayed 0 -1",
        "SREM flowd:queues a",
        "SMEMBERS flowd:queues",
        "INFO",
        "CONFIG GET requirepass",
    ),
    "worker": (
        "DEL emails",
        "GET {emails}:key:a",
        "SET {emails}:key:a b",
        "SMEMBERS flowd:queues",
        "INFO",
        "CONFIG GET requirepass",
    ),
    "admin": (
        "XTRIM emails MAXLEN 0",
        "EVAL return{redis.call('XTRIM',KEYS[1],'MAXLEN',0)} 1 emails",
        "XREADGROUP GROUP senders me STREAMS emails >",
        "XCLAIM emails senders me 0 1-1",
        "XGROUP CREATE emails other 0",
        "HGETALL {emails}:delayed:jobs",
        "SADD flowd:queues a",
        "SET {emails}:key:a b",
        "ACL GETUSER worker",
    ),
}


def answer(user: Raw, command: str) -> str:
    """Why the server refused a command."""
    try:
        user(*command.split())
    except RawError as error:
        return str(error)
    return "carried out"


@pytest.mark.parametrize("role", ROLES)
def test_unneeded_commands_are_refused(
    own_server: Server, guarded: Raw, role: str
) -> None:
    """No role may delete a queue, list keys, or touch another queue."""
    guarded("XGROUP", "CREATE", "emails", "senders", 0, "MKSTREAM")
    with Raw(own_server.url) as user:
        log_in(user, role)
        for command in (*SHARED, *ALONE[role]):
            said = answer(user, command)
            assert re.search(REFUSED, said), f"{command}: {said}"


@pytest.mark.parametrize("role", ["producer", "worker"])
async def test_another_queue_is_refused(
    own_server: Server, guarded: Raw, role: str
) -> None:
    """A program with the wrong user fails at once."""
    async with Queue(Crawl, print, url=own_server.url):
        pass
    url = url_of(own_server, role)
    async with Producer(url) as producer:
        with pytest.raises(AccessDenied):
            await producer.enqueue(Crawl(url="u", priority=1, tags=[]))
    queue = Queue(Crawl, print, url=url)
    with pytest.raises(AccessDenied):
        await queue.init()
    await queue.aclose()

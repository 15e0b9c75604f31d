"""What the client packs for a script is what the server packs, and what is stored of it."""

from __future__ import annotations

import itertools
from contextlib import aclosing
from importlib import resources

import pytest

from flowd import Concurrency, Gate
from flowd.broker.commands import EnqueueCommand
from flowd.broker.connection import connection_to
from flowd.broker.extension import EnqueueCall
from flowd.broker.gate import GateAdmission, GateScripts
from flowd.broker.packed import array_head, pack_fields
from flowd.broker.stream import Stream
from flowd.broker.url import Address
from flowd.model.delivery import Delivery
from tests.support.raw import Raw

SIZES = (0, 1, 31, 32, 33, 127, 128, 255, 256, 257, 65_535, 65_536, 70_000)
GATE = Gate(concurrency=Concurrency(limit=1))
PACK = "return cmsgpack.pack(unpack(ARGV))"
PACK_ARRAY = "return cmsgpack.pack(ARGV)"
UNPACK = "return cmsgpack.unpack(ARGV[1])"


def fields_of(count: int) -> dict[bytes, bytes]:
    """So many fields, with values of many sizes."""
    sizes = itertools.cycle(SIZES[:-3])
    return {b"f%d" % n: b"%d" % n * next(sizes) for n in range(count)}


@pytest.mark.parametrize("size", SIZES)
def test_texts_of_all_sizes_are_packed_as_the_server_packs_them(
    raw: Raw, stream: str, size: int
) -> None:
    """As a name and as a value, alone and between others."""
    text = bytes(n % 251 for n in range(size))
    for fields in ({b"n": text}, {text: b"v"}, {b"a": b"1", text: text, b"b": text}):
        texts = itertools.chain.from_iterable(fields.items())
        assert pack_fields(fields) == raw("EVAL", PACK, 1, stream, *texts)


@pytest.mark.parametrize("size", SIZES)
def test_scripts_begin_texts_as_the_server_does(
    raw: Raw, stream: str, size: int
) -> None:
    """Without packing them, which costs more."""
    prelude = (resources.files("flowd.broker") / "lua" / "packed.lua").read_text()
    head = raw("EVAL", prelude + "return text_head(#ARGV[1])", 1, stream, "x" * size)
    assert isinstance(head, bytes)
    assert head + b"x" * size == raw("EVAL", PACK, 1, stream, "x" * size)


@pytest.mark.parametrize("count", [2, 14, 15, 16, 17, 255, 256, 257, 2_048])
def test_heads_of_arrays_are_those_of_the_server(
    raw: Raw, stream: str, count: int
) -> None:
    """Up to more values than a job has."""
    packed = raw("EVAL", PACK_ARRAY, 1, stream, *["x"] * count)
    assert packed == array_head(count) + b"\xa1x" * count


@pytest.mark.parametrize("count", [1, 4, 5, 6, 7, 120, 130, 1_000])
async def test_bodies_are_arrays_of_the_fields_and_the_envelope(
    redis_url: str, raw: Raw, stream: str, count: int
) -> None:
    """Of a delayed job and of a parked one, which is admitted as it was enqueued."""
    fields = fields_of(count)
    async with aclosing(connection_to(Address.of(redis_url))) as connection:
        queue = Stream(connection, stream, "g")
        scripts, bodies = GateScripts(queue, GATE), queue.keys.bodies
        assert await queue.init("0")
        assert await queue.enqueue([EnqueueCommand(fields, 0, "*", 99.0, "later")])
        own = EnqueueCommand(fields, 0, gate=GATE, ticket=b"c:*")
        jobs = [own._replace(job_id=each * 32) for each in ("a", "b")]
        call = EnqueueCall(stream=queue, jobs=jobs, lasts=1.0)
        _, parked = await GateAdmission().on_enqueue(call).send()
        assert parked == "b" * 32

        stored: dict[str, dict[bytes, bytes]] = {}
        for job_id in ("later", "b" * 32):
            body = raw("HGET", bodies, job_id)
            assert isinstance(body, bytes)
            unpacked = raw("EVAL", UNPACK, 1, stream, body)
            assert isinstance(unpacked, list)
            values = [each for each in unpacked if isinstance(each, bytes)]
            assert body == raw("EVAL", PACK_ARRAY, 1, stream, *values)
            stored[job_id] = dict(zip(values[::2], values[1::2], strict=True))
            assert len(values) == 2 * len(stored[job_id])
            assert stored[job_id].pop(b"_id") == job_id.encode()
            assert int(stored[job_id].pop(b"_at")) > 1_600_000_000_000
        assert stored["later"] == fields
        place = b" s:1" + b"1".zfill(16)
        assert stored["b" * 32] == {b"_gate": b"c:*" + place, **fields}

        (first,) = await queue.read("w", 10)
        assert first.fields == {b"_gate": b"c:*", **fields}
        ack = Delivery(first, 0.0)
        assert await queue.settle("w", [ack], [], parts=[scripts.settle]) == [1]
        (second,) = await queue.read("w", 10)
        assert second.fields.pop(b"_id") == b"b" * 32
        assert second.fields.pop(b"_at")
        assert second.fields == first.fields

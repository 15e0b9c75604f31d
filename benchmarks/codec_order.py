"""What an order with five lines costs to read: records beside msgspec and pydantic.

Prints nanoseconds and ratios, the fastest of many short, interleaved rounds each.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import platform
import sys
import tempfile
import timeit
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Final

import msgspec
import pydantic

from flowd import Job
from flowd_codegen.diagnostics.location import Source
from flowd_codegen.parse.parser import parse
from flowd_codegen.parse.source import Sources
from flowd_codegen.python.render import render

_SCHEMA: Final = """
[record.Line.fields]
sku   = "str"
count = "u32"
price = "float"

[job.Order.fields]
lines = "list[Line]"
"""
_LINES: Final = json.dumps(
    [{"sku": f"A-{n}", "count": n, "price": n + 0.5} for n in range(5)]
).encode()
_ROUNDS: Final = 300
_CALLS: Final = 100


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    sku: str
    count: int
    price: float


class _Struct(msgspec.Struct, frozen=True, kw_only=True):
    sku: str
    count: int
    price: float


class _Model(pydantic.BaseModel):
    sku: str
    count: int
    price: float


def _generated() -> type[Job]:
    """Generate the class into a throw-away folder, and import it."""
    files = render(parse(Sources((Source("order.toml", "order.toml", _SCHEMA),))))
    with tempfile.TemporaryDirectory() as folder:
        for path, text in files.items():
            Path(folder, path).write_text(text, encoding="utf-8")
        sys.path.insert(0, folder)
        order: type[Job] = importlib.import_module("order").Order
    return order


def main() -> None:
    """Print the table."""
    order = _generated()
    entry = {b"lines": _LINES}
    structs = msgspec.json.Decoder(list[_Struct])
    models = pydantic.TypeAdapter(list[_Model])
    ways: dict[str, Callable[[], object]] = {
        "generated": lambda: order.from_fields(entry),
        "json and dataclasses, nothing checked": lambda: [
            _Line(**line) for line in json.loads(_LINES)
        ],
        "msgspec": lambda: structs.decode(_LINES),
        "pydantic": lambda: models.validate_json(_LINES),
    }
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(_ROUNDS):
        for name, way in ways.items():
            best[name] = min(best[name], timeit.timeit(way, number=_CALLS) / _CALLS)
    versions = ", ".join(f"{name} {version(name)}" for name in ("msgspec", "pydantic"))
    print(f"{platform.machine()}, Python {platform.python_version()}, {versions}")
    first = best["generated"]
    print(f"{'read an order with five lines':<52} {'ns':>7} {'ratio':>6}")
    for name, took in best.items():
        print(f"  {name:<50} {took * 1e9:7.0f} {took / first:6.2f}")


if __name__ == "__main__":
    main()

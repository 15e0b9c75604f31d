"""What an order with five lines costs to read: records, msgspec and pydantic.

Prints nanoseconds and ratios, the fastest of many short, interleaved rounds each.
"""

from __future__ import annotations

import dataclasses
import json
import platform
from collections.abc import Callable
from importlib.metadata import version
from typing import Final

import msgspec
import pydantic

from benchmarks.codec import compare, generate_module
from flowd import Job

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


def main() -> None:
    """Print the table."""
    order: type[Job] = generate_module("order", _SCHEMA).Order
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
    versions = ", ".join(f"{name} {version(name)}" for name in ("msgspec", "pydantic"))
    print(f"{platform.machine()}, Python {platform.python_version()}, {versions}")
    compare("read an order with five lines", ways, calls=_CALLS)


if __name__ == "__main__":
    main()

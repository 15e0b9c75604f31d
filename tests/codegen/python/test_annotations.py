"""Generated classes as other libraries see them, which read annotations when they run."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, get_type_hints

import cattrs
import fastapi
import httpx
import msgspec
import pydantic
import pytest
from jsonschema import Draft202012Validator

_CASES = (
    *("scalars", "containers", "optionals", "records", "circular_records"),
    *("enums", "unions", "one_of"),
)
_MODULES = [
    importlib.import_module(f"cases.{case}.expected.{path.stem}")
    for case in _CASES
    for path in sorted(
        (Path(__file__).parents[1] / f"cases/{case}/expected").glob("*.py")
    )
    if path.stem != "__init__"
]
_CLASSES: list[Any] = [
    found
    for module in _MODULES
    for found in map(vars(module).get, module.__all__)
    if dataclasses.is_dataclass(found)
]
_SCALARS: Any = next(one for one in _CLASSES if one.__name__ == "Scalars")
_CHARGE: Any = next(one for one in _CLASSES if one.__name__ == "Charge")
_BODY = {
    "text": "x", "blob": "eA==", "flag": True, "ratio": 0.5, "amount": "1.50",
    "id": "2f1c4d5e-0000-4000-8000-000000000000", "at": "2026-01-31T12:00:00+00:00",
    "day": "2026-01-31", "wait": "PT1.5S", "anything": {"a": [1, None, "x", {"b": 0.5}]},
    "number": 7, "a8": 1, "a16": 1, "a32": 1, "a64": 1, "b8": -1, "b16": -1, "b32": -1,
    "b64": -1,
}  # fmt: skip


@pytest.mark.parametrize("kind", _CLASSES, ids=lambda kind: kind.__name__)
def test_annotations_can_be_read_when_the_program_runs(kind: Any) -> None:
    """`get_type_hints` knows every name, and has no text left."""
    hints = get_type_hints(kind, include_extras=True)
    assert {field.name for field in dataclasses.fields(kind)} <= hints.keys()
    assert not [hint for hint in hints.values() if isinstance(hint, str)]


@pytest.mark.parametrize("kind", _CLASSES, ids=lambda kind: kind.__name__)
def test_pydantic_knows_every_type(kind: Any) -> None:
    """A field of a model may be a job, with a JSON Schema of it."""
    model = pydantic.create_model("Model", job=(kind, ...))
    assert kind.__name__ in json.dumps(model.model_json_schema())


def test_a_job_is_a_field_of_a_model() -> None:
    """What pydantic makes of JSON is a job, with values of the annotated types."""
    adapter: Any = pydantic.TypeAdapter(_SCALARS)
    job = adapter.validate_json(json.dumps(_BODY))
    assert job.anything == _BODY["anything"]
    assert _SCALARS.from_fields(job.to_fields()) == job


def test_a_job_is_the_body_of_a_request() -> None:
    """FastAPI reads it and describes it."""
    app = fastapi.FastAPI()

    def enqueue(job: Any) -> dict[str, object]:
        return {key.decode(): value.decode() for key, value in job.to_fields().items()}

    enqueue.__annotations__["job"] = _SCALARS
    app.post("/jobs")(enqueue)
    transport = httpx.ASGITransport(app=app)

    async def ask() -> None:
        async with httpx.AsyncClient(
            transport=transport, base_url="http://test"
        ) as client:
            answer = await client.post("/jobs", json=_BODY)
            assert answer.status_code == 200, answer.text
            assert answer.json()["amount"] == "1.50"
            wrong = await client.post("/jobs", json={**_BODY, "a8": "x"})
            assert wrong.status_code == 422
            assert "Scalars" in (await client.get("/openapi.json")).text

    asyncio.run(ask())


_DOCUMENT: dict[str, object] = {
    "payment": {"type": "Sepa", "iban": "DE02120300000000202051"},
    "fallback": {"type": "Cash"},
    "tried": [{"kind": "card", "number": "4"}, {"kind": "Sepa", "iban": "D" * 15}],
    "named": {"a": {"type": "Cash"}, "b": {"type": "Sepa", "iban": "D" * 15}},
    "usual": {"type": "Sepa", "iban": "D" * 15},
    "order": {"paid": {"type": "Cash"}, "also": [None, {"type": "Cash"}]},
}


def test_pydantic_reads_and_writes_a_union_by_its_tag() -> None:
    """Also where another member has the same keys, and where each field has its own tag."""
    adapter: Any = pydantic.TypeAdapter(_CHARGE)
    job = adapter.validate_python(_DOCUMENT)
    assert job == adapter.validate_json(json.dumps(_DOCUMENT))
    assert [type(one).__name__ for one in job.tried] == ["Card", "Sepa"]
    assert type(job.fallback).__name__ == "Cash"
    assert type(job.order.also[1]).__name__ == "Cash"
    assert _CHARGE.from_fields(job.to_fields()) == job
    written = adapter.dump_json(job)
    assert adapter.validate_json(written) == job
    assert json.loads(written)["fallback"] == {"type": "Cash"}
    assert json.loads(written)["tried"][0]["kind"] == "card"
    assert adapter.validate_python(job) == job
    tags: list[dict[str, str]] = [{}, {"type": "Wire"}, {"kind": "Sepa"}]
    for tag in tags:
        with pytest.raises(pydantic.ValidationError, match="payment"):
            adapter.validate_python({**_DOCUMENT, "payment": {**tag, "iban": "D" * 15}})


def test_pydantic_reads_a_union_that_holds_itself() -> None:
    """The tag says at each level which record it is."""
    kind: Any = next(one for one in _CLASSES if one.__name__ == "Add")
    adapter: Any = pydantic.TypeAdapter(kind)
    leaf = {"type": "Leaf", "value": 1}
    document: dict[str, object] = {
        "left": {"type": "Not", "of": leaf, "pairs": []},
        "right": leaf,
    }
    made = adapter.validate_python(document)
    assert made == kind.from_json(document)
    assert adapter.dump_python(made, mode="json") == made.to_json()


def test_json_schema_of_a_union_has_the_tags() -> None:
    """What pydantic writes fits the schema that it shows; what has no tag does not."""
    for mode in ("validation", "serialization"):
        adapter: Any = pydantic.TypeAdapter(_CHARGE)
        schema = adapter.json_schema(mode=mode)
        validator: Any = Draft202012Validator(schema)
        validator.validate(_DOCUMENT)
        for payment in ({"iban": "D" * 15}, {"type": "card", "iban": "D" * 15}):
            assert not validator.is_valid({**_DOCUMENT, "payment": payment})


def test_a_union_is_in_the_body_of_a_request() -> None:
    """FastAPI takes the record that the tag names, answers with the tag and describes it."""
    app = fastapi.FastAPI()

    def charge(job: Any) -> Any:
        return job

    charge.__annotations__ |= {"job": _CHARGE, "return": _CHARGE}
    app.post("/charges")(charge)
    transport = httpx.ASGITransport(app=app)

    async def ask() -> None:
        async with httpx.AsyncClient(
            transport=transport, base_url="http://test"
        ) as client:
            answer = await client.post("/charges", json=_DOCUMENT)
            assert answer.status_code == 200, answer.text
            assert answer.json()["fallback"] == {"type": "Cash"}
            again = await client.post("/charges", json=answer.json())
            assert again.json() == answer.json()
            untagged: dict[str, object] = {**_DOCUMENT, "fallback": {}}
            assert (await client.post("/charges", json=untagged)).status_code == 422
            assert '"const":"card"' in (await client.get("/openapi.json")).text

    asyncio.run(ask())


def test_a_module_with_a_union_waits_for_no_pydantic() -> None:
    """Only pydantic looks at what the annotation carries."""
    program = (
        "import sys, typing\n"
        "from cases.unions.expected.payment import Charge\n"
        "typing.get_type_hints(Charge, include_extras=True)\n"
        "print([name for name in sys.modules if name.startswith('pydantic')])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(filter(None, sys.path)), "PATH": ""},
    )
    assert done.stdout == "[]\n"


def test_msgspec_makes_a_job_and_cattrs_takes_it_apart() -> None:
    """Both read the annotations of dataclasses."""
    made: Any = msgspec.convert(_BODY, _SCALARS)
    assert made.anything == _BODY["anything"]
    assert cattrs.unstructure(made)["number"] == 7


def test_a_module_of_jobs_waits_for_no_client() -> None:
    """Importing it, and making, writing and reading a job, loads neither redis nor asyncio."""
    program = (
        "import sys\n"
        "from cases.scalars.expected.schema import Scalars\n"
        "from cases.crawl.expected.schema import Crawl\n"
        "Crawl.from_fields({b'url': b'u', b'priority': b'1', b'tags': b'a'}).to_fields()\n"
        "heavy = {'redis', 'asyncio', 'uvloop', 'concurrent', 'multiprocessing'}\n"
        "print(sorted(heavy & {name.partition('.')[0] for name in sys.modules}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(filter(None, sys.path)), "PATH": ""},
    )
    assert done.stdout == "[]\n"

"""JSON inside a field: its values have exactly the types that the schema says."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowd import wire

T = TypeVar("T")


class _Colour(StrEnum):
    RED = "red"


_SHAPES: Final[dict[str, wire.Shape[object]]] = {
    name: getattr(wire, name)
    for name in wire.__all__
    if isinstance(getattr(wire, name), wire.Shape)
}
_JSON: Final = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
_NUMBERS: Final = {"INT", "U8", "U16", "U32", "U64", "I8", "I16", "I32", "I64"}
_MILLISECONDS: Final = {"UNIX_MS", "DURATION"}


def _load(raw: bytes, shape: wire.Shape[T]) -> T:
    return wire.decode_json(raw, shape)


@pytest.mark.parametrize("name", sorted(_SHAPES))
def test_a_shape_takes_only_its_own_kind_of_json(name: str) -> None:
    """Nothing is converted: "1" is no number, 1 no bool, and null only where allowed."""
    kinds: dict[str, bytes] = {
        "null": b"null",
        "bool": b"true",
        "int": b"1",
        "float": b"1.5",
        "str": b'"~"',
        "list": b"[]",
        "dict": b"{}",
    }
    if name in _NUMBERS | _MILLISECONDS:
        taken = {"int"}
    else:
        taken = {"JSON": set(kinds), "BOOL": {"bool"}, "STR": {"str"}}.get(name, set())
        taken = {"int", "float"} if name == "FLOAT" else taken
    for kind, raw in kinds.items():
        if kind in taken:
            _load(raw, _SHAPES[name])
        else:
            with pytest.raises(wire.CodecError):
                _load(raw, _SHAPES[name])


def test_a_sized_integer_keeps_its_range_inside_json() -> None:
    """A list of u8 refuses 256, and 1.0 is no integer."""
    shape = wire.list_of(wire.U8)
    assert _load(b"[0,255]", shape) == [0, 255]
    with pytest.raises(wire.CodecError, match=r"^at \[1\]: not in 0\.\.255$"):
        _load(b"[0,256]", shape)
    with pytest.raises(wire.CodecError, match="expected an integer, not a float"):
        _load(b"[1.0]", shape)
    with pytest.raises(wire.CodecError, match=r"^at \[0\]: not in 0\.\.255$"):
        wire.encode_json([-1], shape)


def test_an_error_names_the_place() -> None:
    """The way through lists and objects is spelt out."""
    shape = wire.list_of(wire.dict_of(wire.list_of(wire.STR)))
    with pytest.raises(wire.CodecError) as caught:
        _load(b'[{},{"a":[],"b":["x",1]}]', shape)
    assert str(caught.value) == "at [1][1][1]: expected a string, not an integer"
    assert (caught.value.where, caught.value.reason) == (
        "[1][1][1]",
        "expected a string, not an integer",
    )


def test_an_error_never_holds_the_value() -> None:
    """A field that holds a secret may show its errors."""
    shape = wire.list_of(wire.dict_of(wire.U8))
    for raw in (b'[{"hunter2":"hunter2"}]', b'["hunter2"]', b'"hunter2"', b"hunter2"):
        with pytest.raises(wire.CodecError) as caught:
            _load(raw, shape)
        assert "hunter2" not in str(caught.value)


def test_null_is_for_optional_values() -> None:
    """`list[str?]` has holes, `list[str]` has none."""
    assert _load(b'[null,"a"]', wire.list_of(wire.optional(wire.STR))) == [None, "a"]
    with pytest.raises(wire.CodecError, match="not null"):
        _load(b"[null]", wire.list_of(wire.STR))


def test_enums_and_choices_are_json_strings_and_integers() -> None:
    """A member is its text; an integer choice is a number, not its text."""
    assert _load(b'["red"]', wire.list_of(wire.enum_of(_Colour))) == [_Colour.RED]
    numbers = wire.one_of({b"1": 1})
    assert _load(b"1", numbers) == 1
    for raw in (b'"1"', b"true", b"2", b"1.0"):
        with pytest.raises(wire.CodecError):
            _load(raw, numbers)


def test_json_is_compact_and_plain() -> None:
    """No blanks, no escapes of letters, no NaN: what serde_json writes."""
    shape = wire.dict_of(wire.list_of(wire.FLOAT))
    assert wire.encode_json({"é😀": [1.0, 0.5]}, shape) == '{"é😀":[1.0,0.5]}'.encode()
    for value in (math.nan, math.inf):
        with pytest.raises(wire.CodecError, match="NaN and infinity are not JSON"):
            wire.encode_json({"a": [value]}, shape)
    with pytest.raises(wire.CodecError, match="NaN and infinity are not JSON"):
        wire.encode_json(math.nan, wire.JSON)


def test_a_container_of_another_type_is_not_written() -> None:
    """A str is no list of str, and a key is a str."""
    lists: wire.Shape[object] = getattr(wire, "list_of")(wire.STR)  # noqa: B009
    dicts: wire.Shape[object] = getattr(wire, "dict_of")(wire.STR)  # noqa: B009
    with pytest.raises(wire.CodecError, match="expected a list, not a string"):
        wire.encode_json("text", lists)
    with pytest.raises(wire.CodecError, match="expected a dict, not a list"):
        wire.encode_json(["text"], dicts)
    with pytest.raises(
        wire.CodecError, match=r"at \[0\]: expected a string, not an integer"
    ):
        wire.encode_json({1: "a"}, dicts)


_KEYS: Final = st.one_of(
    st.integers(), st.none(), st.booleans(), st.floats(), st.binary(), st.uuids()
)
_NESTS: Final[list[Callable[[object], object]]] = [
    lambda value: [value],
    lambda value: (1, value),
    lambda value: {"a": value, "b": 1},
    lambda value: defaultdict(int, {"a": value}),
]


@given(st.dictionaries(_KEYS, st.just("hunter2"), min_size=1), st.data())
def test_a_key_of_json_is_a_str(value: object, data: st.DataObject) -> None:
    """Python would write 1 as "1" and lose one of the two, so no other key is taken."""
    for nest in data.draw(st.lists(st.sampled_from(_NESTS), max_size=5)):
        value = nest(value)
    anything: wire.Shape[object] = getattr(wire, "JSON")  # noqa: B009
    for shape in (anything, wire.optional(anything)):
        with pytest.raises(wire.CodecError) as caught:
            wire.encode_json(value, shape)
        assert str(caught.value) == "expected a string for every key"


def test_json_that_holds_itself_is_refused() -> None:
    """A cycle has an error of its own, apart from that of an unsupported type."""
    circle: list[wire.Json] = []
    circle.append({"again": circle})
    with pytest.raises(wire.CodecError, match="nested too deeply, or in a circle"):
        wire.encode_json(circle, wire.JSON)


_DEEP: Final[dict[str, Callable[[int], str]]] = {
    "arrays": lambda depth: "[" * depth + "]" * depth,
    "objects": lambda depth: '{"a":' * (depth - 1) + "{" + "}" * depth,
    "escapes": lambda depth: '["\\ud83d\\ude00",' * (depth - 1) + "[" + "]" * depth,
}


@pytest.mark.parametrize("kind", _DEEP)
def test_json_is_read_and_written_as_deep_as_rust_reads_it(kind: str) -> None:
    """127 levels, both ways; beyond every limit of Python too it is a CodecError."""
    deepest = _DEEP[kind](127).encode()
    value = wire.decode_json(deepest, wire.JSON)
    assert wire.decode_json(wire.encode_json(value, wire.JSON), wire.JSON) == value
    with pytest.raises(wire.CodecError, match="nested too deeply"):
        wire.encode_json([value], wire.JSON)
    for depth in (128, 900, 100_000):
        with pytest.raises(wire.CodecError, match="nested too deeply"):
            wire.decode_json(_DEEP[kind](depth).encode(), wire.JSON)


@pytest.mark.parametrize("raw", [b"[" * 100_000, b'{"a":' * 100_000, b"[{" * 100_000])
def test_a_deep_document_is_refused_for_every_shape(raw: bytes) -> None:
    """Closed or not, where no more than a list of texts is expected."""
    with pytest.raises(wire.CodecError):
        wire.decode_json(raw, _SHAPES["STR"])
    with pytest.raises(wire.CodecError):
        wire.decode_json(raw, wire.list_of(_SHAPES["STR"]))


@given(_JSON)
def test_json_of_text_keys_is_read_as_it_was(value: wire.Json) -> None:
    """Whatever JSON can hold survives."""
    assert wire.decode_json(wire.encode_json(value, wire.JSON), wire.JSON) == value


def test_mapper_errors_are_named_by_type_only() -> None:
    """The user's own error may hold the value, so it is the cause and not the text."""
    refusal = wire.inside(".tags", ValueError("hunter2"))
    assert str(refusal) == "at .tags: refused with ValueError"
    assert isinstance(refusal.__cause__, ValueError)


def test_missing_key_is_distinguished_from_a_mappers_key_error() -> None:
    """Only the key that is being read can be missing."""
    assert str(wire.inside(".size", KeyError("size"))) == (
        "at .size: required key is missing"
    )
    assert str(wire.inside(".size", KeyError("other"))) == (
        "at .size: refused with KeyError"
    )


@dataclass(frozen=True)
class _Card:
    number: str

    def to_json(self) -> dict[str, wire.Json]:
        return {"number": self.number}

    @classmethod
    def from_json(cls, value: wire.Json) -> _Card:
        return cls(wire.STR.load(wire.items_of(value)["number"]))


@dataclass(frozen=True)
class _Cash:
    def to_json(self) -> dict[str, wire.Json]:
        return {}

    @classmethod
    def from_json(cls, value: wire.Json) -> _Cash:
        wire.items_of(value)
        return cls()


_PAYMENT: Final[wire.Shape[_Card | _Cash]] = wire.union_of(
    "type", {"card": _Card, "cash": _Cash}
)


def test_union_is_decoded_by_its_tag() -> None:
    """The tag is written first, and read wherever it stands."""
    assert wire.encode_json(_Card("1"), _PAYMENT) == b'{"type":"card","number":"1"}'
    assert _load(b'{"number":"1","type":"card"}', _PAYMENT) == _Card("1")
    assert _load(b'{"number":"1","type":"cash"}', _PAYMENT) == _Cash()


@pytest.mark.parametrize(
    ("raw", "refusal"),
    [
        (b'{"type":"secret words"}', "at .type: expected one of card, cash"),
        (b'{"type":["card"]}', "at .type: expected one of card, cash"),
        (b'{"type":null}', "at .type: expected one of card, cash"),
        (b'{"number":"1"}', "at .type: required key is missing"),
        (b'"card"', "expected an object, not a string"),
        (b"null", "expected an object, not null"),
    ],
)
def test_an_unknown_tag_is_refused_with_the_known_ones(
    raw: bytes, refusal: str
) -> None:
    """The error says what it might be, and never what it was."""
    with pytest.raises(wire.CodecError) as error:
        _load(raw, _PAYMENT)
    assert str(error.value) == refusal


def test_a_union_writes_only_its_members() -> None:
    """Another class is refused, a subclass too: what stands for it is not known."""

    @dataclass(frozen=True)
    class Debit(_Card):
        pass

    for stranger in (Debit("1"), {"type": "card"}, None):
        with pytest.raises(wire.CodecError, match="expected one of _Card, _Cash"):
            _PAYMENT.dump(stranger)  # type: ignore[arg-type] # what checkers refuse

"""How pydantic and FastAPI read and write a union of records: by its tag, as flowd does."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, get_args

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema

__all__ = ["Tagged"]


class Tagged:
    """What the annotation of a union carries; only pydantic looks at it.

    Without it pydantic would take the first record that has the keys, and write none of
    their tags. The records themselves are in the annotation, so they are named here: a type
    checker cannot look into a class, for what its own annotation holds, before it knows it.
    """

    __slots__ = ("_tag", "_texts")

    def __init__(self, tag: str, /, **texts: str) -> None:
        """Take the tag's key, and by name of record the tag's value."""
        self._tag = tag
        self._texts = texts

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """A member, or a document with its tag."""
        # Who calls it has pydantic; flowd does not need it.
        from pydantic_core import core_schema  # noqa: PLC0415

        named = {kind.__name__: kind for kind in get_args(source)}
        kinds: list[type[object]] = [named[name] for name in self._texts]
        made = {self._texts[kind.__name__]: handler(kind) for kind in kinds}
        tagged = core_schema.tagged_union_schema({**made}, discriminator=self._tag)
        members = core_schema.union_schema(
            [core_schema.is_instance_schema(kind) for kind in kinds]
        )
        return core_schema.json_or_python_schema(
            json_schema=tagged,
            python_schema=core_schema.union_schema(
                [members, tagged], mode="left_to_right"
            ),
            serialization=core_schema.wrap_serializer_function_ser_schema(
                self._dump, schema=core_schema.union_schema([*made.values()])
            ),
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """One of the members, each with its tag."""
        found = handler(schema)
        return {
            "oneOf": [
                {
                    "allOf": [member],
                    "properties": {self._tag: {"const": text, "type": "string"}},
                    "required": [self._tag],
                }
                for text, member in zip(
                    self._texts.values(), found["oneOf"], strict=True
                )
            ]
        }

    def _dump(
        self, value: object, write: Callable[[object], dict[str, object]]
    ) -> dict[str, object]:
        written = write(value)
        text = self._texts.get(type(value).__name__)
        return written if text is None else {self._tag: text, **written}

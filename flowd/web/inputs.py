"""The fields of a job as inputs of a form, and what was typed into them."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from flowd.model.job import SECRET, Job
from flowd.model.text import printable
from flowd.ops.forms import FormField, form_of

__all__ = ["Changes", "FieldInput", "Mode", "changes", "inputs"]

Mode: TypeAlias = Literal["set", "keep", "out"]
"""The field gets what is typed, keeps what is stored, or is left out."""

_LONGEST: Final = 64 * 1024
_ONE_LINE: Final = 60
_WORDS: Final[Mapping[Mode, str]] = {
    "set": "set to",
    "keep": "keep as stored",
    "out": "leave out",
}
_BOTH: Final = "a value is typed, and the field is to be left out: clear it, or set it"


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldInput:
    """One field of a form."""

    form: FormField
    index: int
    modes: Sequence[tuple[Mode, str]]
    """What may be done with it; a field with one mode only has no choice."""

    mode: Mode
    value: str
    """What stands in the input; never a secret."""

    kept: str
    """What is shown of the stored value where it cannot be edited as text."""

    error: str

    @property
    def is_long(self) -> bool:
        """Whether it needs several lines."""
        return (
            self.form.kind == "json"
            or "\n" in self.value
            or len(self.value) > _ONE_LINE
        )

    @property
    def options(self) -> Sequence[str]:
        """The texts to choose from; one that is no choice any more is among them."""
        choices = self.form.choices
        if not choices or self.form.open or not self.value or self.value in choices:
            return choices
        return (self.value, *choices)


@dataclass(frozen=True, slots=True)
class Changes:
    """What a form changes."""

    new: Mapping[bytes, bytes | None]
    """By wire name; None leaves the field out."""

    refused: Mapping[str, str]
    """What is wrong with the form itself, by wire name."""


def inputs(
    job_class: type[Job],
    stored: Mapping[bytes, bytes],
    given: Mapping[str, str] | None = None,
    refused: Mapping[str, str] | None = None,
    *,
    is_new: bool = False,
) -> list[FieldInput]:
    """The inputs for the fields of a class.

    Args:
        job_class: of the job.
        stored: the fields of its entry.
        given: what was sent, if it was refused.
        refused: why, by wire name.
        is_new: there is no entry yet.
    """
    found: list[FieldInput] = []
    for index, form in enumerate(form_of(job_class)):
        raw = stored.get(form.name.encode())
        text = None if raw is None or form.secret else _editable(raw)
        modes = _modes(form, raw, text, is_new=is_new)
        error = (refused or {}).get(form.name, "")
        found.append(_input(index, form, (raw, text), modes, given=given, error=error))
    return found


def _input(
    index: int,
    form: FormField,
    stored: tuple[bytes | None, str | None],
    modes: Sequence[Mode],
    *,
    given: Mapping[str, str] | None,
    error: str,
) -> FieldInput:
    raw, text = stored
    mode: Mode = "out" if raw is None and "out" in modes else modes[0]
    value = text or ""
    if given is not None:
        sent = given.get(f"m:{form.name}", "")
        for each in modes:
            if each == sent:
                mode = each
        if not form.secret:
            value = given.get(f"f:{form.name}", value)
    kept = "" if raw is not None or "keep" not in modes else "missing"
    if raw is not None and text is None:
        kept = SECRET if form.secret else printable(_decoded(raw[:400]), 200)
    return FieldInput(
        form=form,
        index=index,
        modes=[(each, _WORDS[each]) for each in modes],
        mode=mode,
        value=value,
        kept=kept,
        error=error,
    )


def _modes(
    form: FormField, raw: bytes | None, text: str | None, *, is_new: bool
) -> list[Mode]:
    """What may be done with a field; the first is what is done if nothing is chosen."""
    found: list[Mode] = ["set"]
    # Nor does a field that is missing become empty because it was not touched.
    if text is None and (raw is not None or (form.required and not is_new)):
        found = ["keep", "set"]
    if not form.required:
        found.append("out")
    return found


def changes(
    job_class: type[Job],
    stored: Mapping[bytes, bytes],
    given: Mapping[str, str],
    *,
    is_new: bool = False,
) -> Changes:
    """What was sent, compared with what is stored; arguments as `inputs`."""
    new: dict[bytes, bytes | None] = {}
    refused: dict[str, str] = {}
    for each in inputs(job_class, stored, given, is_new=is_new):
        name, raw = each.form.name.encode(), stored.get(each.form.name.encode())
        typed = given.get(f"f:{each.form.name}")
        text = None if typed is None else typed.replace("\r\n", "\n")
        unchanged = raw is not None and text == _editable(raw)
        match each.mode:
            case "out":
                if text and not (unchanged or each.form.choices):
                    refused[each.form.name] = _BOTH
                if raw is not None:
                    new[name] = None
            case "set" if text is not None and not (unchanged and not each.form.secret):
                new[name] = text.encode()
            case _:
                pass
    return Changes(new, refused)


def _editable(raw: bytes) -> str | None:
    """The value as text that a browser gives back as it was; None if it would not."""
    if len(raw) > _LONGEST:
        return None
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return None
    obeyed = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
    if any(unicodedata.category(ch) in obeyed for ch in text if ch not in "\n\t"):
        return None
    return text


def _decoded(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")

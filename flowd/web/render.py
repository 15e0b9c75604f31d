"""Pages from templates: every value is escaped, for HTML and for terminals and eyes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol, cast
from urllib.parse import quote, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from flowd.model.job import Job
from flowd.model.redaction import redacted_fields
from flowd.model.text import count_of, printable, span
from flowd.ops.forms import FormField, form_of

__all__ = ["Raw", "ShownField", "line_of", "link", "render", "shown_fields", "spark"]

_LONG: Final = 1 << 30
_CUT: Final = 20_000
_ALL_FIELDS: Final = 400_000
_IN_A_LINE: Final = 48
_WIDTH, _HEIGHT = 96, 20
_NONE: Final = "\N{EN DASH}"


class Raw(str):
    """Text whose control characters are meant, as in a text area; HTML is escaped."""

    __slots__ = ()


class _Named(Protocol):
    @property
    def stream(self) -> str: ...
    @property
    def group(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownField:
    """A field of a job as a page shows it."""

    name: str
    text: str
    """Its value, which may have several lines; or what is shown instead."""

    hidden: bool
    cut: int
    """How many bytes the value has, if not all are shown; else 0."""

    form: FormField | None
    """What its class says of it."""

    @property
    def own(self) -> bool:
        """Whether it is flowd's own, as the key or the version."""
        return self.name.startswith("_")


def render(name: str, values: Mapping[str, object]) -> str:
    """A page.

    Args:
        name: of the template.
        values: what it shows.
    """
    return _ENVIRONMENT.get_template(name).render({**values, "link": link})


def link(path: str, /, **parameters: object) -> str:
    """A path with those parameters that are not empty."""
    given = [(name, f"{value}") for name, value in parameters.items() if value]
    return f"{path}?{urlencode(given, errors='surrogatepass')}" if given else path


def shown_fields(
    fields: Mapping[bytes, bytes], job_class: type[Job] | None
) -> list[ShownField]:
    """The fields of an entry, secrets hidden; without a class, all are.

    Args:
        fields: of the entry; values may be cut.
        job_class: of the queue's jobs, if it is known.
    """
    hidden = redacted_fields(fields, None if job_class is None else job_class.SPEC)
    forms = (
        {} if job_class is None else {each.name: each for each in form_of(job_class)}
    )
    most = min(_CUT, max(200, _ALL_FIELDS // max(1, len(fields))))
    found: list[ShownField] = []
    for raw_name, value in fields.items():
        name = raw_name.decode("utf-8", "backslashreplace")
        form = forms.get(name)
        instead = hidden.get(raw_name)
        text = instead or _pretty(value[:most], form, whole=len(value) <= most)
        found.append(
            ShownField(
                name=name,
                text=text,
                hidden=instead is not None,
                cut=len(value) if instead is None and len(value) > most else 0,
                form=form,
            )
        )
    return found


def line_of(fields: Mapping[bytes, bytes], job_class: type[Job] | None) -> str:
    """The fields of a job on one line; flowd's own are left out."""
    hidden = redacted_fields(fields, None if job_class is None else job_class.SPEC)
    return "  ".join(
        f"{printable(name, _IN_A_LINE)}={printable(value, _IN_A_LINE)}"
        for name, value in (
            (
                raw.decode("utf-8", "backslashreplace"),
                hidden.get(raw) or text[:200].decode("utf-8", "backslashreplace"),
            )
            for raw, text in [*fields.items()][:20]
        )
        if not name.startswith("_")
    )


def spark(values: Sequence[float]) -> str:
    """The points of a line through these values, the last at the right end."""
    if len(values) < 2:
        return ""
    top = max(*values, 1e-9) * 1.2  # a line that does not change is not at the edge
    step = _WIDTH / (len(values) - 1)
    return " ".join(
        f"{index * step:.1f},{_HEIGHT - 1 - value / top * (_HEIGHT - 3):.1f}"
        for index, value in enumerate(values)
    )


def _pretty(value: bytes, form: FormField | None, *, whole: bool) -> str:
    text = value.decode("utf-8", "backslashreplace")
    if whole and form is not None and form.kind == "json":
        try:
            return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
        except (ValueError, RecursionError):
            return text
    return text


def _shown(value: object) -> object:
    """What stands in a page for the value of an expression."""
    if isinstance(value, Markup | Raw) or not isinstance(value, str):
        return value
    return printable(value, _LONG)


def _lines(text: str) -> Raw:
    """Text of several lines, with all other control characters written out."""
    return Raw("\n".join(printable(line, _LONG) for line in text.splitlines()))


def _count(value: int | None) -> str:
    return _NONE if value is None else f"{value:,}"


def _short(seconds: float | None) -> str:
    """A time in one unit or two, as `4m12s`."""
    if seconds is None:
        return _NONE
    if seconds < 9.95:  # a tenth of a second matters where there are few of them
        return span(seconds)
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else span(float(whole))


def _rate(value: float | None) -> str:
    if value is None:
        return _NONE
    return f"{value:,.0f}/s" if value >= 10 else f"{value:.1f}/s"


def _moment(at: datetime | None) -> str:
    return _NONE if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _ago(at: datetime, now: float) -> str:
    return _short(max(0.0, now - at.timestamp()))


def _sent_as(queue: _Named) -> list[tuple[str, str]]:
    """The fields of a form that name a queue; `Visit.target` reads them.

    What a page shows is not always what it is: a browser would send the escapes of a name
    that cannot be printed.
    """
    stream, group = queue.stream, queue.group
    if f"{stream}{group}".isprintable():
        return [("stream", stream), ("group", group)]
    return [("quoted", "1"), ("stream", quote(stream)), ("group", quote(group))]


def _plural(values: Iterable[object] | int, noun: str) -> str:
    number = values if isinstance(values, int) else len([*values])
    return count_of(number, noun)


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Jinja's own are inferred as the types of those it ships.
    filters = cast("dict[str, object]", environment.filters)
    filters |= {
        "lines": _lines,
        "count": _count,
        "span": _short,
        "rate": _rate,
        "moment": _moment,
        "ago": _ago,
        "plural": _plural,
        "sent_as": _sent_as,
        "raw": Raw,
    }
    return environment


_ENVIRONMENT: Final = _environment()

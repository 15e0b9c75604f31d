"""The command-line parser, and options that several commands have."""

from __future__ import annotations

import argparse
import difflib
import re
from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NoReturn, Protocol, TypeGuard

__all__ = [
    "Commands",
    "Parser",
    "add_ages",
    "add_app_dir",
    "add_command",
    "add_fields",
    "add_server",
    "add_url",
    "ago",
    "count",
    "id_advice",
    "moment",
    "pair",
    "port",
    "rate",
    "seconds",
    "size",
    "wrong",
]

_INVALID_CHOICE: Final = re.compile(r"invalid choice: '(.*?)' \(choose from (.*)\)")
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_SPAN: Final = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhd]))+", re.ASCII)
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)([KMGT]?)", re.ASCII)
_LAST_PORT: Final = 65_535
_ID: Final = re.compile(r"\d+-\d+|[0-9a-f]{32}|cron:.+", re.ASCII)
_PART: Final = re.compile(r"([\d.]+)(ms|[smhd])", re.ASCII)


class Parser(argparse.ArgumentParser):
    """Suggests a command or an option when an unknown one was typed."""

    def parse_known_args(  # type: ignore[override] # typeshed has overloads
        self, args: Sequence[str] | None = None, namespace: Namespace | None = None
    ) -> tuple[Namespace, list[str]]:
        """Refuse unknown words here, so that the usage is that of the command they follow."""
        found, unknown = super().parse_known_args(args, namespace or Namespace())
        unknown = self._into_last(found, unknown)
        if unknown:
            message = f"unrecognized arguments: {' '.join(unknown)}"
            self.error(message + self._instead_of(unknown[0]))
        return found, unknown

    def _instead_of(self, word: str) -> str:
        """What to write instead of a word that is unknown here; empty if that is open."""
        typed, known = word.partition("=")[0], self._option_string_actions
        if typed in ("--concurrency", "-c"):  # as Celery has it
            return "; the program sets it: Queue(..., concurrency=20)"
        if not typed.startswith("-"):
            # Some commands take the stream as a word, others as an option.
            return f"; did you mean --stream {word}?" if "--stream" in known else ""
        for each in self._get_positional_actions():
            if typed == f"--{each.dest}":
                return f"; {each.metavar} is given without {typed}"
        close = difflib.get_close_matches(typed, known, 1)
        return f"; did you mean {close[0]}?" if typed.startswith("--") and close else ""

    def _into_last(self, found: Namespace, unknown: list[str]) -> list[str]:
        """Words behind an option are those of the argument that takes several.

        argparse gives it what stands ahead of the option, which may be nothing.
        """
        last = next(iter(reversed(self._get_positional_actions())), None)
        several = last is not None and last.nargs in (
            argparse.ZERO_OR_MORE,
            argparse.ONE_OR_MORE,
        )
        # A negative number is no option, and is refused where its value is read.
        options = [e for e in unknown if e[:1] == "-" and not e[1:2].isdigit()]
        if last is None or not several or options:
            return unknown
        given: list[object] = getattr(found, last.dest) or []
        try:
            more: list[object] = [self._get_value(last, each) for each in unknown]
        except argparse.ArgumentError as error:
            self.error(str(error))
        setattr(found, last.dest, [*given, *more])
        return []

    def error(self, message: str) -> NoReturn:
        """Print usage and message, and exit with 2."""
        found = _INVALID_CHOICE.search(message)
        if found:
            deeper = [f"{each} {found[1]}" for each in self._with_verb(found[1])]
            known = re.findall(r"[\w-]+", found[2])
            # A verb that is typed in full is meant, not a command that is spelt alike.
            if close := deeper or difflib.get_close_matches(found[1], known, 1):
                message += f"; did you mean {' or '.join(map(repr, close))}?"
        super().error(message)

    def _with_verb(self, word: str) -> list[str]:
        """The commands that have a verb of this name."""
        return [
            name
            for name, command in _subparsers(self).items()
            if word in _subparsers(command)
        ]


class Commands(Protocol):
    """What `add_subparsers` returns."""

    def add_parser(
        self,
        name: str,
        *,
        help: str,  # noqa: A002 - argparse's name
        description: str,
        epilog: str,
        formatter_class: type[argparse.HelpFormatter],
        allow_abbrev: bool,
    ) -> argparse.ArgumentParser:
        """Add a command and return its parser."""
        ...


class OptionGroup(Protocol):
    """What `add_argument_group` returns."""

    def add_argument(
        self,
        name: str,
        /,
        *,
        metavar: str,
        type: Callable[[str], object],  # noqa: A002 - argparse's name
        action: str = "store",
        default: object = None,
        help: str,  # noqa: A002 - argparse's name
    ) -> object:
        """Add an option."""
        ...


def add_command(
    commands: Commands,
    name: str,
    text: str,
    command: Callable[[argparse.Namespace], int] | None,
    *,
    description: str = "",
    examples: str = "",
) -> argparse.ArgumentParser:
    """Add a command whose help shows examples.

    Args:
        commands: where to.
        name: the word on the command line.
        text: a short description for the list of commands.
        command: runs it and returns the exit code; None if it has subcommands.
        description: the first paragraph of its help; `text` if empty.
        examples: one on each line.
    """
    parser = commands.add_parser(
        name,
        help=text,
        description=description or f"{text[0].upper()}{text[1:]}.",
        epilog=f"examples:\n{examples}" if examples else "",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    if command is not None:
        parser.set_defaults(command=command)
    return parser


def add_app_dir(parser: argparse.ArgumentParser) -> None:
    """Add the option that says where the user's code is."""
    parser.add_argument(
        "--app-dir",
        metavar="DIR",
        type=Path,
        default=Path(),
        help="folder that MODULE is imported from (default: the current one)",
    )


def add_server(parser: argparse.ArgumentParser) -> None:
    """Add the options of every command that asks a server and prints the answer."""
    add_url(parser)
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def add_url(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the server."""
    parser.add_argument("--url", help="as redis://localhost:6379 (default: $FLOWD_URL)")


def add_ages(group: OptionGroup, text: str) -> None:
    """Add --older and --newer, whose values `ago` makes times of.

    Args:
        group: of options.
        text: describes them, with `{}` for `longer` or `less long`.
    """
    for name, than in (("--older", "longer"), ("--newer", "less long")):
        group.add_argument(name, metavar="AGE", type=seconds, help=text.format(than))


def add_fields(group: OptionGroup) -> None:
    """Add --field, which chooses by the text of fields."""
    group.add_argument(
        "--field",
        metavar="NAME=VALUE",
        type=pair,
        action="append",
        default=[],
        help="the field has this text; may be given again",
    )


def ago(now: float, age: float | None) -> datetime | None:
    """The time `age` seconds before `now`, but not before 1970; None for None."""
    return None if age is None else datetime.fromtimestamp(max(0.0, now - age), UTC)


def seconds(text: str) -> float:
    """A finite time on the command line, as `90`, `90s` or `1h30m`; returns seconds.

    Raises:
        ArgumentTypeError: it is none.
    """
    if _SPAN.fullmatch(text):
        return sum(float(n) * _UNITS[unit] for n, unit in _PART.findall(text))
    value = _number(text)
    if not 0.0 <= value < float("inf"):
        raise wrong(text, "time", "90s, 15m, 2h or 7d")
    return value


def size(text: str) -> int:
    """A size on the command line in bytes, as `500M` or `2G`; 1K is 1024, above 0.

    Raises:
        ArgumentTypeError: it is none.
    """
    found = _SIZE.fullmatch(text)
    value = (
        int(float(found[1]) * 1024 ** " KMGT".index(found[2] or " ")) if found else 0
    )
    if value <= 0:
        raise wrong(text, "size", "500M or 2G")
    return value


def moment(text: str) -> datetime:
    """A date and a time on the command line, as `2031-05-01T08:00:00Z`.

    Raises:
        ArgumentTypeError: it is none, or has no time zone.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        example = "2027-01-01T00:00:00Z or 2027-01-01T00:00:00+02:00"
        raise wrong(text, "date and time", example) from None
    if found.tzinfo is None:
        zoned = found.isoformat()
        raise ArgumentTypeError(
            f"{text!r} has no time zone: write it as {zoned}Z for UTC, or as {zoned}+02:00"
        )
    return found


def count(text: str) -> int:
    """A number of things: 0 or more.

    Raises:
        ArgumentTypeError: it is none.
    """
    if not (text.isdecimal() and text.isascii()):
        raise wrong(text, "count", "0, 1 or 1000")
    return int(text)


def port(text: str) -> int:
    """A port on the command line.

    Raises:
        ArgumentTypeError: it is none.
    """
    known = text.isdecimal() and text.isascii()
    if not (known and int(text) <= _LAST_PORT):
        raise wrong(text, "port", f"9000; the last one is {_LAST_PORT}")
    return int(text)


def rate(text: str) -> float:
    """A rate on the command line, as `10/s`, `600/m` or `10`; returns jobs per second.

    Raises:
        ArgumentTypeError: it is none, or not above 0.
    """
    number, slash, unit = text.partition("/")
    known = not slash or unit in _UNITS
    value = _number(number) / _UNITS[unit or "s"] if known else 0.0
    if not 0.0 < value < float("inf"):
        raise wrong(text, "rate above 0", "50/s or 600/m")
    return value


def pair(text: str) -> tuple[str, str]:
    """A field's wire name and its text, as `to=a@b.c`.

    Raises:
        ArgumentTypeError: there is no `=`, or nothing before it.
    """
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise wrong(text, "field with its value", "to=a@b.c")
    return name, value


def id_advice(text: str) -> str:
    """What to say of an id that is not found and does not look like one; else empty."""
    if _ID.fullmatch(text):
        return ""
    return (
        ": this is no id; ids are like 1795537402210-0, 2edec4b2… (32 digits and letters)"
        " or cron:NAME:…, and `list` shows them"
    )


def wrong(text: str, what: str, example: str) -> ArgumentTypeError:
    """The error of a word on the command line that cannot be read.

    Args:
        text: the word.
        what: it should be, as `rate`.
        example: how that is written.
    """
    return ArgumentTypeError(f"{text!r} is no {what}: write it as {example}")


def _subparsers(parser: argparse.ArgumentParser) -> Mapping[str, Parser]:
    """The commands of a parser by their names; none of one that runs something."""
    for each in parser._get_positional_actions():  # noqa: SLF001 - no public way
        if _are_commands(each.choices):
            return each.choices
    return {}


def _are_commands(choices: object) -> TypeGuard[Mapping[str, Parser]]:
    """Choices of a value are no mapping."""
    return isinstance(choices, dict)


def _number(text: str) -> float:
    """A number; not-a-number where the text is none."""
    try:
        return float(text)
    except ValueError:
        return float("nan")

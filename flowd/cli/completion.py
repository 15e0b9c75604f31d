"""`flowd completion SHELL`: what a shell needs to complete the words of `flowd`."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from typing import Final

from flowd.cli.load import UsageError
from flowd.cli.options import Commands, add_command

__all__ = ["add"]

_SHELLS: Final = ("bash", "zsh", "fish", "tcsh")


def add(commands: Commands, parser: argparse.ArgumentParser) -> None:
    """Add the command to the command line, whose words `parser` knows."""

    def command(options: argparse.Namespace) -> int:
        if find_spec("shtab") is None:
            raise UsageError("completion needs the extra `cli`: pip install shtab")
        import shtab  # noqa: PLC0415 - only now is it known to be there

        print(shtab.complete(parser, options.shell))
        return 0

    own = add_command(
        commands,
        "completion",
        "print what a shell needs to complete words",
        command,
        examples='  eval "$(flowd completion bash)"\n'
        "  flowd completion fish > ~/.config/fish/completions/flowd.fish",
    )
    own.add_argument("shell", choices=_SHELLS)

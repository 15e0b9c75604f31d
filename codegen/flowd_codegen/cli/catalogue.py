"""The command `flowd-gen catalogue SRC [-o FILE]`."""

from __future__ import annotations

from collections.abc import Sequence

from flowd_codegen.cli.command import Options, command_parser, exit_code_of, read_schema
from flowd_codegen.cli.document import (
    DocumentOptions,
    document_options,
    output_document,
)
from flowd_codegen.export.catalogue import catalogue

__all__ = ["run"]


class _Options(Options, DocumentOptions):
    """What argparse fills in."""


def run(arguments: Sequence[str]) -> int:
    """Give the catalogue of a schema's jobs in Markdown; returns the exit code."""
    parser = command_parser(
        "catalogue SRC [-o FILE] [--check] [--format FORMAT]",
        "Describe the jobs of schemas in Markdown. Secrets are not shown.",
    )
    options = document_options(parser, arguments, _Options())

    def work() -> int:
        text = catalogue(read_schema(options))
        return output_document(text, options, ["catalogue", str(options.source)])

    return exit_code_of(work, options.format)

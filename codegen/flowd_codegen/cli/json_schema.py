"""The command `flowd-gen json-schema [-o FILE]`."""

from __future__ import annotations

from collections.abc import Sequence

from flowd_codegen.cli.command import exit_code_of, plain_parser
from flowd_codegen.cli.document import (
    DocumentOptions,
    document_options,
    output_document,
)
from flowd_codegen.export.json_schema import json_schema_text

__all__ = ["run"]

_HELP = """\
An editor with TOML support completes and checks a schema whose first line is

    #:schema PATH-OR-URL

The path is relative to the schema."""


def run(arguments: Sequence[str]) -> int:
    """Give the JSON Schema of the schema language; returns the exit code."""
    usage = "json-schema [-o FILE] [--check]"
    parser = plain_parser(usage, "Give the schema language to an editor.")
    parser.epilog = f"{_HELP}\n\n{parser.epilog}"
    options = document_options(parser, arguments, DocumentOptions())
    text = json_schema_text()
    return exit_code_of(lambda: output_document(text, options, ["json-schema"]), "text")

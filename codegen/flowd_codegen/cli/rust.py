"""The command `flowd-gen rust SRC [-o FILE.rs]`."""

from __future__ import annotations

from collections.abc import Sequence

from flowd_codegen.cli.command import Options, command_parser, exit_code_of, read_schema
from flowd_codegen.cli.document import (
    DocumentOptions,
    document_options,
    output_document,
)
from flowd_codegen.export.rust import rust
from flowd_codegen.parse.source import read

__all__ = ["run"]


class _Options(Options, DocumentOptions):
    """What argparse fills in."""


def run(arguments: Sequence[str]) -> int:
    """Give the jobs as Rust structs for the crate flowd; returns the exit code."""
    parser = command_parser(
        "rust SRC [-o FILE.rs] [--check] [--format FORMAT]",
        "Generate the Rust structs with #[derive(Job)] that share the jobs' streams.",
    )
    options = document_options(parser, arguments, _Options())

    def work() -> int:
        sources = read(options.source)
        places = {source.path: source for source in sources.files}
        text = rust(read_schema(options, sources), places)
        return output_document(text, options, ["rust", str(options.source)])

    return exit_code_of(work, options.format)

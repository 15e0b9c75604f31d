"""The command `flowd-gen rust SRC [-o FILE.rs]`."""

from __future__ import annotations

from collections.abc import Sequence

from flowd_codegen.cli.command import (
    Options,
    command_parser,
    exit_code_of,
    read_contract,
)
from flowd_codegen.cli.document import (
    DocumentOptions,
    document_options,
    output_document,
)
from flowd_codegen.export.rust import rust

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
        contract = read_contract(options)
        places = {source.path: source for source in contract.sources}
        text = rust(contract.schema, places)
        return output_document(text, options, ["rust", str(options.source)])

    return exit_code_of(work, options.format)

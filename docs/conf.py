"""The documentation site: `make docs`."""

from __future__ import annotations

import io
import os
from contextlib import redirect_stdout, suppress
from importlib import import_module
from importlib.metadata import version as version_of
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

import flowd
from flowd_codegen.cli import run

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "flowd"
author = "the authors of flowd"
copyright = "2026, the authors of flowd"  # noqa: A001 - the name that Sphinx reads
version = release = version_of("flowd-jobs")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinxarg.ext",
]
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown"}
root_doc = "index"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False

default_role = "code"
html_theme = "furo"
html_title = "flowd"
html_show_sourcelink = False
copybutton_exclude = ".linenos, .gp"

_SCRIPTS: Final = Path(flowd.__file__).parent / "broker/lua"

# Pages that are included, under the names that they have on the site. Links between files
# also work where the repository is read as it is.
_INCLUDED: Final = {
    "](../README.md": "](/index.md",
    "](../schemas/README.md": "](/reference/schemas.md",
    "](../CHANGELOG.md": "](/changelog.md",
}


def _connection(_: Sphinx, __: str, source: list[str]) -> None:
    for written, shown in _INCLUDED.items():
        source[0] = source[0].replace(written, shown)


class Help(SphinxDirective):
    """`{flowd-gen} COMMAND`: what the parser of a command says; empty: that of none."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """The help as it is on a terminal."""
        said = io.StringIO()
        words = [word for word in self.content if word]
        with redirect_stdout(said), suppress(SystemExit):
            run([*words, "--help"])
        return [nodes.literal_block(said.getvalue(), said.getvalue(), language="none")]


class Docstring(SphinxDirective):
    """`{flowd-doc} MODULE`: what the docstring of a module says."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The docstring as it is written."""
        said = import_module(self.arguments[0]).__doc__ or ""
        return [nodes.literal_block(said, said, language="none")]


class Scripts(SphinxDirective):
    """`{flowd-scripts}`: the comment at the top of each Lua script, under its name."""

    def run(self) -> list[nodes.Node]:
        """A section for each file."""
        return [
            self._section(path.stem, path.read_text("utf-8"))
            for path in sorted(_SCRIPTS.glob("*.lua"))
        ]

    def _section(self, name: str, text: str) -> nodes.Node:
        lines = takewhile(lambda line: line.startswith("--"), text.splitlines())
        said = "\n".join(line[3:] for line in lines)
        block = nodes.literal_block(said, said, language="none")
        section = nodes.section("", nodes.title(name, name), block, ids=[f"lua-{name}"])
        self.env.note_dependency(str(_SCRIPTS / f"{name}.lua"))
        return section


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    os.environ["COLUMNS"] = "88"
    app.add_directive("flowd-gen", Help)
    app.add_directive("flowd-doc", Docstring)
    app.add_directive("flowd-scripts", Scripts)
    app.connect("source-read", _connection)

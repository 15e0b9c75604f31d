"""Schemas of another revision, read out of git without a checkout."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Final, NoReturn

from flowd_codegen.diagnostics.location import Source, SourceLocation
from flowd_codegen.diagnostics.report import (
    Code,
    Fault,
    SchemaErrors,
    quoted,
    visible,
)
from flowd_codegen.diagnostics.suggest import did_you_mean
from flowd_codegen.parse.source import Sources, read

__all__ = ["is_revision", "read_revision"]

_SPELLING: Final = "write it like `.git#ref=main` or `.git#ref=v1.2,subdir=schemas`"
_LISTED: Final = 10
_FILES: Final = ("100644", "100755")
_SUBMODULE: Final = "160000"
_REPOSITORY: Final = (
    *("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX"),
    *("GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_NAMESPACE"),
    *("GIT_IMPLICIT_WORK_TREE", "GIT_GRAFT_FILE", "GIT_SHALLOW_FILE"),
    *("GIT_NO_REPLACE_OBJECTS", "GIT_REPLACE_REF_BASE"),
)
"""Variables that git sets for its hooks, and that would select another repository."""

_NONE: Final = (b"not a git repository", b"cannot change to")
"""The message of git if there is none."""


def is_revision(text: str) -> bool:
    """Whether an argument means a revision: `.git#…`, perhaps of another folder."""
    repository, sign, _ = text.partition("#")
    return bool(sign) and PurePosixPath(repository).name == ".git"


def read_revision(text: str, source: Path) -> tuple[str, Sources]:
    """Read the schemas of a revision; returns its name, `main@1a2b3c4`, and them.

    Args:
        text: `.git#ref=REF[,subdir=DIR]`, where DIR is seen from the top of the
            repository; without it, it is where `source` is.
        source: the schemas of today.

    Raises:
        SchemaErrors: git knows no such revision, or it has no schemas.
        OSError: git cannot be run.
    """
    repository, _, words = text.partition("#")
    git = _Git(text, Path(repository).parent)
    options: dict[str, str] = {}
    for word in words.split(","):
        option, _, value = word.partition("=")
        options[option] = value
    ref = options.pop("ref", "")
    subdir = options.pop("subdir", "")
    if options or not ref:
        # `.git#main`: the name of a revision alone.
        bare = words and not ref and not subdir and "=" not in words
        spelling = f"write `{repository}#ref={words}`" if bare else _SPELLING
        git.fail("this names no revision", spelling)
    if PurePosixPath(subdir).is_absolute() or ".." in PurePosixPath(subdir).parts:
        # It would leave what is read out of git: today's files are no revision.
        message = f"`subdir={subdir}` is not a folder below the top of the repository"
        git.fail(message, "write it from there, without `..`: `,subdir=schemas`")
    subdir = PurePosixPath(subdir or git.inside(source)).as_posix()
    commit = git.commit(ref)
    with TemporaryDirectory() as folder:
        for path, content in git.files(commit, subdir):
            file = Path(folder, path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        # `git show main:schemas/crawl.toml` shows the file that a finding names.
        sources = read(Path(folder, subdir), called=f"{ref}:{subdir}")
    name = ref if commit.startswith(ref) else f"{ref}@{commit[:7]}"
    return name, sources


@dataclass(frozen=True, slots=True)
class _Git:
    """A repository.

    Attributes:
        text: what the person wrote, for errors.
        folder: somewhere in it.
    """

    text: str
    folder: Path

    def fail(self, message: str, advice: str, *notes: str) -> NoReturn:
        location = SourceLocation(Source("", self.text))
        raise SchemaErrors([Fault(Code.REVISION, location, message, advice, notes)])

    def inside(self, source: Path) -> str:
        """Where the schemas are in the repository."""
        top = self._top()
        try:
            return source.resolve().relative_to(top.resolve()).as_posix()
        except ValueError:
            advice = "say where they were: `,subdir=…`"
            self.fail(f"{source} is not in that repository", advice)

    def commit(self, ref: str) -> str:
        """The full id of the commit that a branch, tag or id means."""
        self._asked("rev-parse", "--git-dir")
        wanted = f"{ref}^{{commit}}"
        found = self._run("rev-parse", "--verify", "--end-of-options", wanted)
        if found is None:
            advice = "fetch it first; a clone made by CI may have one branch only"
            listed = self._run("for-each-ref", "--format=%(refname:short)") or b""
            known = listed.decode(errors="replace").split()
            near = did_you_mean(ref, known, advice)
            note = f"known here: {', '.join(known[:_LISTED])}" if known else ""
            message = f"git knows no revision {quoted(ref)}"
            self.fail(message, near, *[visible(note)] * bool(note))
        return found.decode().strip()

    def files(self, commit: str, subdir: str) -> Iterator[tuple[str, bytes]]:
        """Each schema file below a folder, or one file, with its path from the top."""
        entries = self._entries(commit, subdir)
        if not entries:
            # It may be inside of a submodule, which is one entry of its tree.
            for parent in PurePosixPath(subdir).parents[:-1]:
                for mode, path, module in self._entries(commit, str(parent)):
                    if mode == _SUBMODULE and PurePosixPath(path) == parent:
                        inner = PurePosixPath(subdir).relative_to(parent)
                        yield from self._submodule(path, module, str(inner))
        for mode, path, content in entries:
            if ".." in path.split("/"):
                continue
            if mode in _FILES and path.endswith(".toml"):
                yield path, self._run("cat-file", "blob", content) or b""
            elif mode == _SUBMODULE and not _is_hidden(path, subdir):
                yield from self._submodule(path, content, ".")

    def _submodule(
        self, path: str, commit: str, subdir: str
    ) -> Iterator[tuple[str, bytes]]:
        """The files of another repository, which the revision has at a commit of it."""
        inner = _Git(self.text, self._top() / path)
        if inner._run("cat-file", "-e", f"{commit}^{{commit}}") is None:
            shown = visible(path)
            self.fail(
                f"`{shown}` is a submodule there, and its commit {commit[:7]} is not here",
                f"run `git submodule update --init {shown}` and `git -C {shown} fetch`;"
                " or compare with a checkout or a lock",
            )
        for below, content in inner.files(commit, subdir):
            yield f"{path}/{below}", content

    def _entries(self, commit: str, subdir: str) -> list[tuple[str, str, str]]:
        """The mode, path and id of each file and submodule below a folder."""
        below = () if subdir == "." else (subdir,)
        listed = self._run("ls-tree", "-rz", "--full-tree", commit, "--", *below)
        found: list[tuple[str, str, str]] = []
        for entry in (listed or b"").split(b"\0")[:-1]:
            about, path = entry.split(b"\t", 1)
            mode, _, name = about.decode().split()
            found.append((mode, os.fsdecode(path), name))
        return found

    def _top(self) -> Path:
        top = self._asked("rev-parse", "--show-toplevel")
        return Path(os.fsdecode(top.rstrip(b"\n")))

    def _asked(self, *arguments: str) -> bytes:
        """What git says of the repository; it may be there and not be opened."""
        done = self._ended(arguments)
        if done.returncode != 0:
            if any(word in done.stderr for word in _NONE):
                self.fail("there is no git repository here", _SPELLING)
            words = done.stderr.decode(errors="replace").strip()
            message = "git does not open this repository"
            self.fail(message, "", f"git says:\n{words}")
        return done.stdout

    def _run(self, *arguments: str) -> bytes | None:
        """What git prints; None when it refuses."""
        done = self._ended(arguments)
        return done.stdout if done.returncode == 0 else None

    def _ended(self, arguments: tuple[str, ...]) -> subprocess.CompletedProcess[bytes]:
        # Refusals are recognised by git's messages, which must not be translated.
        kept = {k: v for k, v in os.environ.items() if k not in _REPOSITORY}
        try:
            return subprocess.run(
                ["git", "-C", self.folder, *arguments],  # noqa: S607 - as in a shell
                capture_output=True,
                check=False,
                env={**kept, "LC_ALL": "C", "LANGUAGE": ""},
            )
        except FileNotFoundError:
            self.fail("git is not installed", "compare with a folder or a lock")


def _is_hidden(path: str, subdir: str) -> bool:
    """Whether no schema is read there: it is in a hidden folder below the schemas'."""
    below = PurePosixPath(path).relative_to(subdir).parts
    return any(part.startswith(".") for part in below)

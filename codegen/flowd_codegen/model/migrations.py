"""Migrations: the user's functions that convert a job of one version to the next version.

flowd-gen writes their file once, with stubs. From then on the file belongs to the user:
flowd-gen parses it, but never imports it or writes it again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath

from flowd_codegen.model.naming import snake_case
from flowd_codegen.model.schema import Job, Module

__all__ = ["Step", "file_of", "module_of", "steps"]


@dataclass(frozen=True, slots=True)
class Step:
    """One migration.

    Attributes:
        function: its name, `crawl_v1_to_v2`.
        old: what it takes.
        new: what it gives.
        result: the class of `new`: `CrawlV2`, also where that is `Crawl` today.
    """

    function: str
    old: Job
    new: Job
    result: str

    def stub(self, path: PurePosixPath) -> str:
        """The function to be completed by the user, for the file `path`."""
        return (
            f"def {self.function}(old: {self.old.name}) -> {self.result}:\n"
            f'    """Make a {self.result} of a {self.old.name}."""\n'
            f'    raise NotImplementedError("write {self.function} in {path}")\n'
        )


def steps(job: Job) -> Iterator[Step]:
    """The migrations of a job, the one of its oldest version first."""
    prefix = snake_case(job.name)
    for old, new in pairwise((*job.older, job)):
        function = f"{prefix}_v{old.version}_to_v{new.version}"
        yield Step(function, old, new, new.versioned_alias or new.name)


def module_of(name: tuple[str, ...]) -> tuple[str, ...]:
    """The module that has the migrations of a module, below the output folder."""
    return (*name[:-1], f"{name[-1]}_migrations")


def file_of(module: Module) -> PurePosixPath:
    """The file of that module, below the output folder."""
    return PurePosixPath(*module_of(module.name)).with_suffix(".py")

"""Migrations: the user's functions that make a job of a newer version of an older one.

They are in a file that is written once, with stubs, and is the user's from then on. It
is looked into, and never imported or written again.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from flowd_codegen.contract import Contract
from flowd_codegen.diagnostics import Code, Fault
from flowd_codegen.naming import snake_case
from flowd_codegen.place import Place, Source, Span
from flowd_codegen.schema import Job, Module

__all__ = ["Step", "file_of", "migration_faults", "module_of", "steps"]

_Bound: TypeAlias = dict[str, ast.stmt]


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
        """The function before somebody has written it, for the file `path`."""
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
        yield Step(function, old, new, new.second_name or new.name)


def module_of(name: tuple[str, ...]) -> tuple[str, ...]:
    """The module that has the migrations of a module, below the output folder."""
    return (*name[:-1], f"{name[-1]}_migrations")


def file_of(module: Module) -> PurePosixPath:
    """The file of that module, below the output folder."""
    return PurePosixPath(*module_of(module.name)).with_suffix(".py")


def migration_faults(
    contract: Contract, out: Path, stubs: Mapping[PurePosixPath, str]
) -> Iterator[Fault]:
    """What the files of migrations lack or have too much, and what is still a stub.

    Args:
        contract: the schema, with places.
        out: the output folder.
        stubs: the files as they would be written first.

    Raises:
        OSError: a file cannot be read.
    """
    for module in contract.schema.modules:
        if (relative := file_of(module)) in stubs:
            path = out / relative
            raw = path.read_bytes() if path.exists() else stubs[relative].encode()
            text = raw.decode("utf-8", "replace")
            shown = Source(relative.as_posix(), path.as_posix(), text)
            match _bound(raw):
                case str(reason):
                    message = f"it is not Python: {reason}"
                    yield Fault(Code.MIGRATION, Place(shown), message)
                case bound:
                    yield from _faults(module, contract, shown, bound)


def _faults(
    module: Module, contract: Contract, file: Source, bound: _Bound
) -> Iterator[Fault]:
    """Compare what there is with what there must be."""
    needed = [step for job in module.jobs for step in steps(job)]
    for step in needed:
        if step.function not in bound:
            names = f"{step.old.name} and {step.result} from .{module.name[-1]}"
            stub = step.stub(file_of(module))
            yield Fault(
                Code.MIGRATION,
                contract.at(step.old),
                f"{file.shown} has no function `{step.function}`",
                "add it",
                (f"import {names} there, and paste:\n\n{stub}",),
            )
    names = "|".join(snake_case(job.name) for job in module.jobs)
    pattern = re.compile(rf"(?:{names})_v\d+_to_v\d+", re.ASCII)
    for name, node in bound.items():
        if pattern.fullmatch(name) and name not in {step.function for step in needed}:
            yield Fault(
                Code.MIGRATION,
                _place(file, node),
                f"`{name}` migrates a version that the schema does not have",
                "rename or remove it, and the import of that class",
            )
        elif pattern.fullmatch(name) and _is_stub(node):
            yield Fault(
                Code.STUB,
                _place(file, node),
                f"`{name}` is not written yet",
                "until it is, jobs of that version are dead-lettered",
                severity="warning",
            )


def _bound(raw: bytes) -> _Bound | str:
    """The names that a module gets in its outermost statements; or why it is none."""
    try:
        tree = ast.parse(raw)
    except SyntaxError as error:
        return f"{error.msg}, in line {error.lineno or 1}"
    except ValueError as error:
        return str(error)
    bound: _Bound = {}
    for node in tree.body:
        match node:
            case ast.FunctionDef(name=name):
                bound[name] = node
            case ast.ImportFrom(names=names):
                bound |= {alias.asname or alias.name: node for alias in names}
            case ast.Assign(targets=[ast.Name(id=name)]):
                bound[name] = node
            case ast.AnnAssign(target=ast.Name(id=name)):
                bound[name] = node
            case _:
                pass
    return bound


def _is_stub(node: ast.stmt) -> bool:
    """Whether a function cannot give a job: it raises first, or returns nothing."""
    if not isinstance(node, ast.FunctionDef):
        return False
    body = node.body[ast.get_docstring(node) is not None :]
    match body:
        case [ast.Raise(exc=ast.Name(name) | ast.Call(func=ast.Name(name))), *_]:
            if name == "NotImplementedError":
                return True
        case _:
            pass
    waiting: list[ast.AST] = [*node.body]
    for one in waiting:
        if isinstance(one, ast.Return) and one.value is not None:
            return False
        if not isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            # What a function inside of it returns is not its own.
            waiting += ast.iter_child_nodes(one)
    return True


def _place(file: Source, node: ast.stmt) -> Place:
    """The first line of a statement."""
    lines = file.text.split("\n")
    start = sum(len(line) + 1 for line in lines[: node.lineno - 1])
    return Place(file, exact=Span(start, start + len(lines[node.lineno - 1].rstrip())))

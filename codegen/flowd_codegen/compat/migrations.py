"""What a file of migrations lacks, and what in it is still a stub."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from flowd_codegen.compat.contract import Contract
from flowd_codegen.diagnostics.location import Source, SourceLocation, TextSpan
from flowd_codegen.diagnostics.report import Code, Fault
from flowd_codegen.model.migrations import file_of, steps
from flowd_codegen.model.naming import snake_case
from flowd_codegen.model.schema import Module

__all__ = ["migration_faults"]

_Bound: TypeAlias = dict[str, ast.stmt]


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
            text = raw.decode("utf-8-sig", "replace").replace("\r\n", "\n")
            shown = Source(relative.as_posix(), path.as_posix(), text)
            match _bound(raw):
                case str(reason):
                    message = f"it is not Python: {reason}"
                    yield Fault(Code.MIGRATION, SourceLocation(shown), message)
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
                _location(file, node),
                f"`{name}` migrates a version that the schema does not have",
                "rename or remove it, and the import of that class",
            )
        elif pattern.fullmatch(name) and isinstance(node, ast.AsyncFunctionDef):
            message = f"`{name}` is asynchronous, and a migration is a plain function"
            label = "remove `async`, and what it awaits"
            yield Fault(Code.MIGRATION, _location(file, node), message, label)
        elif pattern.fullmatch(name) and _is_stub(node):
            yield Fault(
                Code.STUB,
                _location(file, node),
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
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
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
    match node:
        case ast.Assign(value=value) | ast.AnnAssign(value=ast.expr() as value):
            return _is_nothing(value) or (
                isinstance(value, ast.Lambda) and _is_nothing(value.body)
            )
        case ast.FunctionDef():
            pass
        case _:
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
        if isinstance(one, ast.Return) and not _is_nothing(one.value):
            return False
        if not isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            # What a function inside of it returns is not its own.
            waiting += ast.iter_child_nodes(one)
    return True


def _is_nothing(value: ast.expr | None) -> bool:
    match value:
        case None | ast.Constant():
            # No constant of Python's is a job.
            return True
        case ast.Name(id="NotImplemented"):
            return True
        case ast.IfExp(body=one, orelse=other):
            return _is_nothing(one) and _is_nothing(other)
        case _:
            return False


def _location(file: Source, node: ast.stmt) -> SourceLocation:
    """The first line of a statement."""
    lines = file.text.split("\n")
    start = sum(len(line) + 1 for line in lines[: node.lineno - 1])
    return SourceLocation(
        file, exact=TextSpan(start, start + len(lines[node.lineno - 1].rstrip()))
    )

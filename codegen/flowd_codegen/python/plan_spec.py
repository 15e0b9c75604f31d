"""The plan of a job's `SPEC`: what the runtime knows of its class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, TypeGuard

from flowd.model.job import FORMAT
from flowd.model.policy import Backoff
from flowd.model.schedule import Schedule
from flowd_codegen.model.schema import Job
from flowd_codegen.python.plan_spec_fields import described
from flowd_codegen.python.source import bracket, bytes_literal, text_literal
from flowd_codegen.python.types import TypePrinter, plain_expression
from flowd_codegen.python.wire_text import WireTexts

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["plan_spec"]


def plan_spec(job: Job, secrets: list[str], printer: TypePrinter) -> str:
    """The statement of a class's body that sets `SPEC`.

    Args:
        job: or an older version of one.
        secrets: the wire names of all secrets, those of older versions too.
        printer: of the module.
    """
    name = printer.imports.name("flowd", "JobSpec")
    class_var = printer.imports.name("typing", "ClassVar")
    arguments: list[str] = [
        f"name={text_literal(job.name)}",
        f"fields={_texts([field.key for field in job.fields])}",
        f"policy={_call(job.policy, printer)}",
        f"format={FORMAT}",
    ]
    arguments += described(job, printer.declared)
    if secrets:
        arguments.append(f"secrets={_texts(secrets)}")
    if labels := [field.attribute for field in job.fields if field.label]:
        arguments.append(f"labels={_texts(labels)}")
    if job.version is not None:
        arguments.append(f"version={job.version}")
    if job.oldest > 1:
        arguments.append(f"oldest={job.oldest}")
    if job.crons:
        arguments.append(f"schedules={_schedules(job, printer)}")
    if job.gate is not None:
        arguments.append(f"gate={_call(job.gate, printer)}")
    if job.extra:
        arguments.append(f"extra={plain_expression({**job.extra})}")
    spec = bracket(f"{name}(", arguments, spread=True)
    return f"SPEC: {class_var}[{name}] = {spec}"


def _schedules(job: Job, printer: TypePrinter) -> str:
    """The schedules as plain data, each with the fields that it enqueues."""
    name = printer.imports.name("flowd", "Schedule")
    calls: list[str] = []
    for cron in job.crons:
        arguments = [
            f"{option.name}={plain_expression(getattr(cron.schedule, option.name))}"
            for option in fields(Schedule)
            if getattr(cron.schedule, option.name) != option.default
        ]
        pairs = [
            bracket("(", (bytes_literal(key.encode()), bytes_literal(text.encode())))
            for key, text in WireTexts(printer.declared).scheduled(job, cron).items()
        ]
        arguments.append(f"fields={bracket('(', pairs)}")
        calls.append(bracket(f"{name}(", arguments, spread=True))
    return bracket("(", calls)


def _are_texts(value: object) -> TypeGuard[tuple[str, ...]]:
    return isinstance(value, tuple)


def _texts(texts: Sequence[str]) -> str:
    return bracket("(", tuple(map(text_literal, texts)))


def _call(rules: DataclassInstance, printer: TypePrinter) -> str:
    """The call that builds rules of flowd's, with what differs from the defaults."""
    arguments: list[str] = []
    for option in fields(rules):
        value: object = getattr(rules, option.name)
        if value in (option.default, Backoff()):
            continue
        if is_dataclass(value) and not isinstance(value, type):
            text = _call(value, printer)
        elif _are_texts(value):
            text = _texts(value)
        else:
            text = plain_expression(value)
        arguments.append(f"{option.name}={text}")
    name = printer.imports.name("flowd", type(rules).__name__)
    return bracket(f"{name}(", tuple(arguments))

"""The page of a queue's limits: which keys are at theirs, and how to change one."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.responses import Response

from flowd.errors import DecodeError, OptionError
from flowd.log import log
from flowd.model.text import printable
from flowd.ops.key_text import wire_texts
from flowd.ops.limits import Limit, key_limits, reset_limit, schema_limits, set_key
from flowd.web.visit import Refusal, Target, Visit

__all__ = ["change", "show"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Typed:
    """What was sent, and why it was refused."""

    kind: str = ""
    fields: Mapping[str, str]
    limit: str = ""
    error: str = ""


_NOTHING = _Typed(fields={})


async def show(visit: Visit) -> Response:
    """The page."""
    return await _page(visit, await visit.target(), _NOTHING)


async def change(visit: Visit) -> Response:
    """Give a key a limit of its own, or let it go by the schema again."""
    form = await visit.form()
    target = await visit.target(form)
    what = form.get("do", "")
    if what == "reset-all":
        await reset_limit(target.queries)
        return _done(visit, target, "all keys", "reset")
    if what not in ("set", "reset"):
        raise Refusal(400, "There is nothing to do", "Set or reset a limit?")
    limits = await schema_limits(target.queries)
    typed = _Typed(
        kind=form.get("kind", ""),
        fields={name[2:]: text for name, text in form.items() if name.startswith("k:")},
        limit=form.get("limit", "").strip(),
    )
    try:
        name = form.get("name") or _named(target, limits, typed)
        await set_key(target.queries, name, _number(typed) if what == "set" else None)
    except (OptionError, DecodeError) as error:
        refused = _Typed(
            kind=typed.kind, fields=typed.fields, limit=typed.limit, error=f"{error}"
        )
        return await _page(visit, target, refused, named=form.get("name", ""))
    said = f"to {typed.limit}" if what == "set" else "reset"
    return _done(visit, target, name, said)


def _done(visit: Visit, target: Target, name: str, what: str) -> Response:
    log(
        logging.INFO,
        "web: %s: limit of %s of %s (%s): %s",
        *map(printable, (visit.user.name, name, target.stream, target.group, what)),
    )
    said = "reset" if what == "reset" else "set"
    return visit.go(target.link("/limits", said=said))


def _named(target: Target, limits: list[Limit], typed: _Typed) -> str:
    """The key that was typed, field by field."""
    job_class = target.job_class
    secrets = () if job_class is None else job_class.SPEC.secrets
    for limit in limits:
        if limit.kind == typed.kind and all(typed.fields.get(one) for one in limit.per):
            fields = {one: typed.fields[one] for one in limit.per}
            if job_class is not None:
                fields = wire_texts(job_class, fields)
            return limit.name_of(fields, secrets)
    raise OptionError.absent("key", "give a value for each field of the key")


def _number(typed: _Typed) -> int:
    if not (typed.limit.isascii() and typed.limit.isdecimal()):
        raise OptionError.absent("limit", "give a whole number; 0 pauses the key")
    return int(typed.limit[:20])


async def _page(
    visit: Visit, target: Target, typed: _Typed, *, named: str = ""
) -> Response:
    return visit.page(
        "limits",
        422 if typed.error else 200,
        target=target,
        limits=await key_limits(target.queries),
        rules=await schema_limits(target.queries),
        typed=typed,
        named=named,
        said=visit.asked("said"),
    )

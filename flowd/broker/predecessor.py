"""End a lost connection at the server, so that nothing sent on it is carried out later.

What was sent on a connection that is given up here may be under way: a slow link recovers, or
the server never hears that it is gone. A read that is carried out then takes entries for a
reader that will not get them, and they wait for one lease.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

__all__ = ["INFO", "Predecessor"]

INFO: Final = ("CLIENT", "INFO")
"""Asks for the id and the address that the server knows a connection by."""


class Predecessor:
    """The last connection that succeeded, by its id and address at the server."""

    def __init__(self) -> None:
        self._known: tuple[str, str] | None = None

    def commands(self) -> Sequence[tuple[str, ...]]:
        """What a new connection asks first: to end the one before, and its own name.

        The right to either may be missing. The number alone could be another client's,
        after a restart of the server, so the address has to fit as well.
        """
        if self._known is None:
            return (INFO,)
        number, address = self._known
        return (("CLIENT", "KILL", "ID", number, "ADDR", address), INFO)

    def note(self, info: object) -> None:
        """Take note of the connection that has asked, as CLIENT INFO answered.

        All clients of a unix socket have the same address; there, the server hears at
        once that a connection is gone.
        """
        self._known = None
        if not isinstance(info, bytes):
            return
        words = info.decode("utf-8", "replace").split()
        about = {
            name: value for name, _, value in (each.partition("=") for each in words)
        }
        number, address = about.get("id", ""), about.get("addr", "")
        if number.isdecimal() and not address.endswith(":0"):
            self._known = number, address

    def answered(self, info: asyncio.Future[object]) -> None:
        """Take note of the connection that is open, whose answer this is."""
        if not info.cancelled() and info.exception() is None:
            self.note(info.result())

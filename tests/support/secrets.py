"""A job full of secrets, and how to find one of them in a text."""

from __future__ import annotations

import base64
from typing import Final

from tests.support.jobs.vault import Account, Vault

__all__ = ["full", "leaks"]

_BLOB: Final = b"\x00hunter\xff"

_PLANTED: Final = (
    *("hunter", "retnuh", "second line", "4815162342"),
    *(_BLOB.hex(), base64.b64encode(_BLOB).decode()),
)


def full() -> Vault:
    """A job whose every secret field has a value that `leaks` would find."""
    return Vault(
        open="seen",
        token='a hunter\'s "token" \\ of größe\nand a second line',
        maybe="hunter of maybe",
        list_=["hunter one", "hunter two"],
        blob=_BLOB,
        number=4815162342,
        mapped="hunter mapped",
        login=Account(user="me", password="hunter of the login"),
        logins={"all": [Account(user="you", password='hunter "of" all')]},
    )


def leaks(text: str) -> list[str]:
    """What of the values is in a text."""
    return [planted for planted in _PLANTED if planted in text]

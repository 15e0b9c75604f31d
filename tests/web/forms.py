"""The forms of a page, as a browser would send them."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import TypeAlias

__all__ = ["Form", "form_of"]

Form: TypeAlias = dict[str, str]
"""What a form sends, by name."""


class _Forms(HTMLParser):
    """Reads the inputs of each form, and what stands in them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, Form]] = []
        self._select = ""
        self._area = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember a form, or an input of the form before."""
        given = {name: value or "" for name, value in attrs}
        name, value = given.get("name", ""), given.get("value", "")
        if tag == "form":
            self.found.append((given["action"], {}))
        if not self.found:
            return
        form = self.found[-1][1]
        match tag:
            case "input" if given.get("type") not in ("checkbox", "radio"):
                form[name] = value
            case "select":
                self._select = name
            case "option" if self._select:
                if "selected" in given or self._select not in form:
                    form[self._select] = value
            case "textarea":
                self._area, form[name] = name, ""
            case _:
                pass

    def handle_data(self, data: str) -> None:
        """The text of an area, of which a browser drops the first line break."""
        if self._area:
            form = self.found[-1][1]
            form[self._area] += data if form[self._area] else data.removeprefix("\n")

    def handle_endtag(self, tag: str) -> None:
        """The end of a select or an area."""
        if tag == "select":
            self._select = ""
        if tag == "textarea":
            self._area = ""


def form_of(page: str, action: str) -> Form:
    """The first form of a page that is sent there, as it stands."""
    forms = _Forms()
    forms.feed(page)
    return next(form for where, form in forms.found if where == action)

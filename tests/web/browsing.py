"""A real browser: the system's Chromium, driven by Playwright."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from contextlib import contextmanager
from importlib import resources
from typing import Final, TypeGuard

from playwright.sync_api import Browser, Page, sync_playwright

from tests.web.serving import PASSWORD

__all__ = ["CHROMIUM", "browser", "page_at", "tab_to", "violations"]

CHROMIUM: Final = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
    None,
)
"""The program; None where it is not installed."""

_AXE: Final = (resources.files("axe_playwright_python") / "axe.min.js").read_text()
_RULES: Final = [
    "wcag2a",
    "wcag2aa",
    "wcag21a",
    "wcag21aa",
    "wcag22aa",
    "best-practice",
]


@contextmanager
def browser() -> Generator[Browser]:
    """A browser without a window."""
    with sync_playwright() as playwright:
        # Root in a container has no user namespaces for its sandbox.
        found = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        try:
            yield found
        finally:
            found.close()


@contextmanager
def page_at(
    found: Browser,
    base: str,
    *,
    width: int = 1280,
    dark: bool = False,
    scripts: bool = True,
    faults: tuple[str, ...] = (),
) -> Generator[Page]:
    """A page of the dashboard, as its user; what the browser complains of fails it.

    Args:
        found: the browser.
        base: where the dashboard is.
        width: of the window.
        dark: whether the user prefers dark pages.
        scripts: whether scripts run.
        faults: what it may complain of.
    """
    context = found.new_context(
        viewport={"width": width, "height": 800},
        color_scheme="dark" if dark else "light",
        java_script_enabled=scripts,
        http_credentials={"username": "ops", "password": PASSWORD},
        base_url=base,
    )
    context.set_default_timeout(15_000)
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(f"{error}"))
    page.on("dialog", lambda dialog: said.append(f"dialog {dialog.message}"))
    try:
        yield page
        left = [each for each in said if not any(fault in each for fault in faults)]
        assert not left
    finally:
        context.close()


def tab_to(page: Page, words: str, *, most: int = 80) -> None:
    """Press Tab until what has the focus has these words; each stop has to be seen."""
    page.wait_for_load_state()  # a page may have its words before its style sheet
    for _ in range(most):
        page.keyboard.press("Tab")
        # A page that was just loaded may draw the ring a moment later.
        for _ in range(100):
            if page.evaluate("document.activeElement.matches('body, :focus-visible')"):
                break
            page.wait_for_timeout(20)
        found = page.evaluate("""() => {
            const it = document.activeElement;
            const style = getComputedStyle(it);
            const label = it.labels?.[0]?.textContent ?? "";
            return {
              words: [it.textContent, it.value, it.ariaLabel, it.name, label].join(" "),
              seen: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
              tag: it.localName,
            };
        }""")
        assert _is_stop(found)
        if found["tag"] == "body":
            continue
        assert found["seen"], f"no focus is seen on {found}"
        if words in f"{found['words']}":
            return
    raise AssertionError(f"Tab does not lead to {words!r}")


def violations(page: Page) -> list[str]:
    """What axe finds wrong with a page, a line each."""
    page.wait_for_load_state()  # the rules judge sizes and colours
    # The policy of the page lets no script in; the driver's own world is not the page's.
    page.evaluate(_AXE)
    found = page.evaluate(
        "rules => axe.run(document, {runOnly: rules, resultTypes: ['violations']})",
        _RULES,
    )
    lines = page.evaluate(
        """found => found.violations.flatMap(each => each.nodes.map(
             node => `${each.id}: ${node.html.slice(0, 200)} ${node.failureSummary}`))""",
        found,
    )
    assert _is_lines(lines)
    return lines


def _is_stop(found: object) -> TypeGuard[dict[str, object]]:
    return isinstance(found, dict)


def _is_lines(found: object) -> TypeGuard[list[str]]:
    return isinstance(found, list)

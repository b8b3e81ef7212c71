"""A browser for the tests of pages: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


# Not for the session: while Playwright runs, asyncio believes that a loop runs in this thread, and no other can.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for a module's tests; each opens pages of its own."""
    sync_api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("needs chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Opener:
    """Opens files; what a page asked for, and what went wrong in it, is kept."""

    def __init__(self, browser: Browser) -> None:
        """Args: browser: in which they are opened."""
        self._browser = browser
        self.requests: list[str] = []
        self.errors: list[str] = []

    @contextmanager
    def opened(
        self, path: Path, fragment: str = "", *, width: int = 1280, dark: bool = False, scripts: bool = True
    ) -> Iterator[Page]:
        """Open a file and give the page, which has loaded."""
        context = self._browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if dark else "light",
            java_script_enabled=scripts,
            reduced_motion="reduce",
        )
        context.set_default_timeout(15_000)
        page = context.new_page()
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda message: self.errors.append(message.text))
        page.goto(path.as_uri() + fragment)
        try:
            yield page
        finally:
            context.close()

    def found_by_axe(self, path: Path, *, dark: bool) -> list[tuple[str, list[str]]]:
        """Return what axe-core is sure of, with everything unfolded: rules, and the first elements that break them."""
        axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
        with self.opened(path, dark=dark) as page:
            page.evaluate("document.querySelectorAll('details').forEach((details) => (details.open = true))")
            found = axe.run(page).response["violations"]
        return [(one["id"], [node["html"][:200] for node in one["nodes"][:3]]) for one in found]


@pytest.fixture
def opener(browser: Browser) -> Opener:
    """What opens pages in this test."""
    return Opener(browser)

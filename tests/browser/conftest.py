"""A browser for pages: Chromium by Playwright, or a reason why there is none.

Playwright is no dependency of the library (``pip install playwright``); the Chromium is the system's, or the one that
``COSET_CHROMIUM`` names.
"""

import os
import shutil

import pytest


@pytest.fixture(scope="session")
def chromium():
    """A headless Chromium; tests are skipped where Playwright or Chromium is absent."""
    sync = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")
    path = os.environ.get("COSET_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("needs Chromium: apt install chromium, or name one in COSET_CHROMIUM")
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium):
    """``open_page(path, hash, width=, dark=)``: a page that stands; an error of its script fails the test."""
    contexts, errors = [], []

    def opened(path, address="", *, width=1280, dark=False):
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light", accept_downloads=True,
            permissions=["clipboard-read", "clipboard-write"],
        )  # fmt: skip
        contexts.append(context)
        context.route(
            lambda url: not url.startswith(("file:", "blob:", "data:")), lambda route: errors.append(route.request.url)
        )
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.goto(f"file://{path}{address}")
        page.wait_for_function("document.documentElement.dataset.ready")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not errors

"""A browser for pages: Chromium by Playwright, or a reason why there is none; axe for them; a place for their pictures.

The packages are the extra ``browser``. The Chromium is the system's (``.ci/browser`` installs Debian's), or the one that
``COSET_CHROMIUM`` names. Without either these tests are skipped, unless ``COSET_BROWSER=required``: then they fail.
``COSET_SHOTS`` names a folder that keeps the pictures of pages.
"""

import os
import re
import shutil
from pathlib import Path

import pytest

#: the looks in which a page is shown: width, dark
LOOKS = {"light": (1280, False), "dark": (1280, True), "phone": (360, False)}


def _absent(reason):
    if os.environ.get("COSET_BROWSER") == "required":
        pytest.fail(f"COSET_BROWSER=required, but this {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def chromium():
    """A headless Chromium; tests are skipped, or fail, where Playwright or Chromium is absent."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _absent('needs Playwright: pip install "coset[browser]"')
    names = [os.environ.get("COSET_CHROMIUM"), "chromium", "chromium-browser"]
    path = next((found for name in names if name and (found := shutil.which(name))), None)
    if path is None:
        _absent("needs Chromium: run .ci/browser, or name one in COSET_CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def open_context(chromium):
    """``open_context(errors, look or width=, dark=)``: a page of its own; what its script complains of goes to ``errors``."""
    contexts = []

    def opened(errors, look="", *, width=1280, dark=False):
        width, dark = LOOKS.get(look, (width, dark))
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light", accept_downloads=True,
            permissions=["clipboard-read", "clipboard-write"],
        )  # fmt: skip
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        return page

    yield opened
    for context in contexts:
        context.close()


@pytest.fixture
def open_page(open_context):
    """``open_page(path, hash, look)``: a page from disk that stands; an error of its script, or a request, fails the test."""
    errors = []

    def opened(path, address="", look="", *, ready="document.documentElement.dataset.ready", **more):
        page = open_context(errors, look, **more)
        page.route(lambda url: not url.startswith(("file:", "blob:", "data:")), lambda route: errors.append(route.request.url))
        page.goto(f"file://{path}{address}")
        page.wait_for_function(ready)
        return page

    yield opened
    assert not errors


@pytest.fixture(scope="session")
def axe():
    """``axe(page)``: what the accessibility engine axe finds wrong with a page, a line for each element."""
    try:
        from axe_playwright_python.base import AXE_SCRIPT
    except ImportError:
        _absent('needs axe: pip install "coset[browser]"')

    def found(page):
        page.evaluate(AXE_SCRIPT)
        told = page.evaluate("axe.run({ resultTypes: ['violations'], preload: false })")
        return [
            f"{rule['id']} ({rule['impact']}): {node['html'][:200]}" for rule in told["violations"] for node in rule["nodes"]
        ]

    return found


@pytest.fixture
def shot(request, tmp_path):
    """``shot(page, name)``: keep a picture of the whole page, for people to look at."""
    folder = Path(os.environ.get("COSET_SHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)

    def kept(page, name=""):
        path = folder / f"{re.sub(r'[^A-Za-z0-9]+', '-', name or request.node.name).strip('-')}.png"
        page.screenshot(path=path, full_page=True)
        return path

    return kept

"""The site in a browser: the search finds and leads, nothing is wider than a phone, colours follow the reader's choice."""

import pytest

from coset.cli.docs import front, markdown_folder
from coset.report.guide import menu, read_guides
from coset.report.prose import article
from coset.report.site import Page, citations_page, write_site

TABLE = "| a | b |\n|---|---|\n| " + "x " * 200 + "| y |\n"
WIDE = f"# Guide\n\n## Far down\n\nA word: zebra.\n\n{TABLE}\n```python\n" + "x = 1; " * 60 + "\n```\n"
MENU = [("Learn", [("Start", "index.html"), ("Guide", "guides/one.html")])]


@pytest.fixture
def site(tmp_path):
    made = article(WIDE)
    pages = [Page("index.html", "coset", "<p>Opening.</p>"), citations_page()]
    pages.append(Page("guides/one.html", made.title, made.body, headings=made.headings))
    return write_site(tmp_path, pages, {}, MENU).parent


def test_the_search_leads_to_the_page_by_keys_alone(site, open_page):
    page = open_page(site / "index.html")
    page.keyboard.press("/")
    page.keyboard.type("far zebra")
    assert page.locator("#found a").count() == 1
    page.keyboard.press("Enter")
    page.wait_for_url("**/guides/one.html#far-down")
    page.keyboard.press("/")
    page.keyboard.type("no such thing")
    assert page.locator("#found").inner_text() == "Nothing found."
    page.keyboard.press("Escape")
    assert page.locator("#found a").count() == 0


@pytest.mark.parametrize("path", ["index.html", "guides/one.html", "citations.html"])
def test_nothing_is_wider_than_a_phone_and_the_menu_folds(site, open_page, path):
    page = open_page(site / path, width=360)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert not page.locator("#menu").evaluate("menu => menu.open")
    page.locator("#menu > summary").click()
    assert page.locator("nav a", has_text="Guide").is_visible()


def test_colours_follow_the_system_and_then_the_button(site, open_page):
    page = open_page(site / "index.html", dark=True)
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.locator("#theme").click()
    assert page.evaluate(ground) == "rgb(255, 255, 255)" != dark


@pytest.fixture(scope="module")
def guides(tmp_path_factory):
    """The pages of the repository's own docs, without tasks and systems."""
    folder = markdown_folder(None)
    if folder is None:
        pytest.skip("the docs are not here")
    found = read_guides(folder)
    texts = [*found.pages, citations_page()]
    return write_site(tmp_path_factory.mktemp("site"), [front(texts), *texts], found.pictures, menu(texts)).parent


@pytest.mark.parametrize("look", ["light", "dark", "phone"])
@pytest.mark.parametrize("name", ["index", "start", "guides/audit", "files"])
def test_pages_can_be_read_by_all(open_page, guides, name, look, axe, shot):
    page = open_page(guides / f"{name}.html", look=look)
    assert page.evaluate("document.documentElement.scrollWidth") == page.viewport_size["width"]
    shot(page, f"docs-{name}-{look}")
    assert axe(page) == []

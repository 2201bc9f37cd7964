"""Markdown pages link to one another on the site as they do in the repository."""

from coset.report.guide import menu, read_guides


def repository(folder):
    (folder / "docs" / "guides").mkdir(parents=True)
    (folder / "README.md").write_text("# Read me\n\n[start](docs/start.md) ![p](docs/p.png) [code](src/a.py)\n")
    (folder / "docs" / "p.png").write_bytes(b"png")
    (folder / "docs" / "start.md").write_text("# Start\n\n[guide](guides/audit.md#how) [web](https://a.org) [here](#x)\n")
    (folder / "docs" / "guides" / "audit.md").write_text("# Audit\n\n[up](../start.md) [top](../../README.md) ![p](../p.png)\n")
    (folder / "docs" / "guides" / "zoo.md").write_text("# Zoo\n")
    return read_guides(folder / "docs")


def test_links_and_pictures_are_relative_to_where_the_page_goes(tmp_path):
    found = repository(tmp_path)
    body = {page.path: page.body for page in found.pages}
    assert sorted(body) == ["guides/audit.html", "guides/zoo.html", "readme.html", "start.html"]
    assert 'href="start.html"' in body["readme.html"]
    assert "<a>code</a>" in body["readme.html"]
    assert 'src="pictures/pages/p.png"' in body["readme.html"]
    for part in ('href="guides/audit.html#how"', 'href="https://a.org"', 'href="#x"'):
        assert part in body["start.html"]
    for part in ('href="../start.html"', 'href="../readme.html"', 'src="../pictures/pages/p.png"'):
        assert part in body["guides/audit.html"]
    assert found.pictures == {"pictures/pages/p.png": tmp_path / "docs" / "p.png"}


def test_the_menu_reads_in_order_and_forgets_no_page(tmp_path):
    assert menu(repository(tmp_path).pages) == [
        ("Learn", [("The first five minutes", "start.html"), ("Overview", "readme.html")]),
        ("Guides", [("Audit", "guides/audit.html"), ("Zoo", "guides/zoo.html")]),
    ]

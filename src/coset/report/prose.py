"""Markdown and docstrings as HTML: headings with addresses, highlighted code, tables that scroll, links that are looked up.

CommonMark with tables is parsed by markdown-it-py, code is colored by Pygments; both come with rich, which the core needs.
"""

from __future__ import annotations

import html
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Link = Callable[[str], str | None]  #: the address of a link's target on the site, None where it is not there
LEXERS = {"python": "python", "sh": "bash", "console": "console", "json": "json", "bibtex": "bibtex", "toml": "toml"}
TAG = re.compile(r"<[^>]*>")


@dataclass(frozen=True)
class Article:
    """A rendered text: its first heading, its HTML without it, and ``(depth, address, text)`` of the other headings."""

    title: str
    body: str
    headings: tuple[tuple[int, str, str], ...] = ()

    @property
    def words(self) -> str:
        """What a reader sees, as one line."""
        return " ".join(html.unescape(TAG.sub(" ", self.body)).split())


def article(text: str, link: Link = lambda target: target) -> Article:
    """A Markdown page as HTML. Raw HTML in it is shown, not obeyed."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(text)
    title, headings = "", list[tuple[int, str, str]]()
    for i, token in enumerate(tokens):
        if token.type == "heading_open":
            plain = _plain(tokens[i + 1])
            if not title and token.tag == "h1":
                title, token.hidden = plain, True
                tokens[i + 1].hidden, tokens[i + 1].children, tokens[i + 2].hidden = True, [], True
                continue
            address = unique(slug(plain), [known for _, known, _ in headings])
            token.attrSet("id", address)
            headings.append((int(token.tag[1]), address, plain))
        for child in token.children or []:
            _relink(child, link)
    for name, rule in (("fence", _fence), ("table_open", _open), ("table_close", _close)):
        parser.add_render_rule(name, rule)
    return Article(title, parser.renderer.render(tokens, parser.options, {}), tuple(headings))


def docstring(text: str | None) -> str:
    """A docstring without its first paragraph as HTML; marks of its language become code, indented blocks stay as they are."""
    parts = re.split(r"\n\s*\n", inspect.cleandoc(text or ""), maxsplit=1)
    return spelled(parts[1]) if len(parts) > 1 else ""


def spelled(text: str) -> str:
    """A part of a docstring as HTML."""
    from markdown_it import MarkdownIt

    text = "\n".join(line if line.startswith("    ") else _unmarked(line) for line in text.splitlines())
    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable(["emphasis", "lheading"])
    for name, rule in (("table_open", _open), ("table_close", _close)):
        parser.add_render_rule(name, rule)
    return str(parser.render(text))


def _unmarked(line: str) -> str:
    line = re.sub(r":[a-z]+:`~?([^`]*)`", r"`\1`", re.sub(r"``([^`]*)``", r"`\1`", line))
    return line.removesuffix(":") if line.endswith("::") else line


def first(text: str | None) -> str:
    """The first sentence of a docstring, without markup."""
    opening = " ".join(inspect.cleandoc(text or "").split("\n\n")[0].split())
    return re.sub(r":[a-z]+:`~?([^`]*)`", r"\1", opening).replace("``", "").rstrip(".")


def code(text: str, language: str = "python") -> str:
    """A block of code, colored where the language is known."""
    if language not in LEXERS:
        return f"<pre>{html.escape(text, quote=False)}</pre>"
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import get_lexer_by_name

    return f"<pre>{highlight(text, get_lexer_by_name(LEXERS[language]), HtmlFormatter(nowrap=True))}</pre>"


def slug(text: str) -> str:
    """The address of a heading: small letters and digits with dashes, as GitHub makes it."""
    return re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", text.lower()).strip())


def unique(name: str, known: list[str]) -> str:
    """``name``, with a number if it is taken."""
    return next(one for one in (name, *(f"{name}-{i}" for i in range(1, len(known) + 2))) if one not in known)


def _plain(token: Any) -> str:
    return "".join(child.content for child in token.children if child.type in ("text", "code_inline"))


def _relink(token: Any, link: Link) -> None:
    """Point a link or an image to where its target is on the site; one that is not there becomes plain text."""
    name = {"link_open": "href", "image": "src"}.get(token.type)
    if name is None:
        return
    target = link(str(token.attrGet(name)))
    if target is not None:
        token.attrSet(name, target)
    elif name == "href":
        token.attrs.pop("href")
    else:
        token.type, token.content, token.children = "text", token.content, None


def _fence(self: Any, tokens: Any, i: int, options: Any, env: Any) -> str:
    return code(tokens[i].content, tokens[i].info.strip().partition(" ")[0])


def _open(self: Any, tokens: Any, i: int, options: Any, env: Any) -> str:
    return '<div class="scroll" tabindex="0" role="group" aria-label="table"><table>\n'


def _close(self: Any, tokens: Any, i: int, options: Any, env: Any) -> str:
    return "</table></div>\n"

"""Markdown and docstrings become HTML that says the same and nothing else."""

from coset.report.prose import article, code, docstring, first, slug, spelled

PAGE = """# Of `frames` & more

Opening with <b>raw</b> HTML, a [link](other.md#part), [nowhere](gone.py) and ![a picture](gone.png).

## One thing

| a | b |
|---|---|
| `x` | 1 |

```python
def f(x):
    return x < 1  # why
```

## One thing

```console
$ coset doctor
ok
```
"""


def test_a_page_keeps_its_text_and_numbers_headings_of_one_name():
    made = article(PAGE, {"other.md#part": "other.html#part"}.get)
    assert made.title == "Of frames & more"
    assert made.headings == ((2, "one-thing", "One thing"), (2, "one-thing-1", "One thing"))
    assert "<h1" not in made.body
    assert '<h2 id="one-thing-1">' in made.body
    assert "return x < 1 # why" in made.words


def test_links_are_looked_up_and_raw_html_is_shown():
    body = article(PAGE, {"other.md#part": "other.html#part"}.get).body
    assert '<a href="other.html#part">link</a>' in body
    assert "<a>nowhere</a>" in body
    assert "&lt;b&gt;raw&lt;/b&gt;" in body
    assert "<img" not in body
    assert "a picture" in body


def test_code_is_colored_and_tables_scroll():
    body = article(PAGE).body
    assert '<span class="k">def</span>' in body
    assert '<span class="gp">$ </span>' in body
    assert '<div class="scroll" tabindex="0" role="group" aria-label="table"><table>' in body
    assert code("<a>", "nothing") == "<pre>&lt;a&gt;</pre>"


def test_docstrings_lose_the_marks_of_their_language_and_keep_formulas():
    text = "First :func:`~a.b` of ``it``.\n\nSee :mod:`coset.nn`, ``x < y`` and a*b*c::\n\n"
    text += "    y = ``f``(x)\n      + 1\n\n- one\n- two\n"
    assert first(text) == "First a.b of it"
    made = docstring(text)
    assert "<code>coset.nn</code>, <code>x &lt; y</code> and a*b*c:</p>" in made
    assert "<pre><code>y = ``f``(x)\n  + 1\n</code></pre>" in made
    assert "<li>one</li>" in made
    assert docstring("Only this.") == docstring(None) == ""
    assert "<th>what</th>" in spelled("| what | here |\n|---|---|\n| a | ``b`` |")


def test_addresses_are_those_of_github():
    assert slug("What is `here` (and why)?") == "what-is-here-and-why"

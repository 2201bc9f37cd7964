"""A printed page is right when what is printed now has its shape: words and rows, not numbers."""

import pytest

from coset.report.transcript import Step, difference, files, mask, steps

PAGE = """
```python
# nets/own.py
x = 1
```

```python
print("not a file")
```

```console
$ coset audit nets.py:cnn \\
    --group "C(4)"
verdict  FAIL  0.93
[exit 1]
$ coset list
```
"""


def test_commands_outputs_and_codes_are_read():
    assert files(PAGE) == {"nets/own.py": "# nets/own.py\nx = 1\n"}
    first, second = steps(PAGE)
    assert (first.line.split(), first.output, first.code) == (
        ["coset", "audit", "nets.py:cnn", "--group", '"C(4)"'], ("verdict  FAIL  0.93",), 1
    )  # fmt: skip
    assert second == Step("coset list")


def test_numbers_and_blanks_are_masked_and_words_are_not():
    assert mask("error   -8.9e-17  torch 2.13.0+cpu  90°") == mask("error 0.3 torch 3.0+cpu 5°")
    assert mask("980 MB of 1,180,000 at (0, -0.12, 350)") == mask("1,180 MB of 3 at (1, 2, 3)")
    assert mask("verdict PASS 0.1") != mask("verdict FAIL 0.1")


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        (["a 1", "b 2"], ["a 3", "", "b 4.5e-3"], True),
        (["a 1", "b 2"], ["a 3"], False),
        (["a 1"], ["a 3", "b 4"], False),
        (["a", "...", "d"], ["a", "b", "c", "d"], True),
        (["a", "...", "d"], ["a", "b", "c"], False),
        (["a", "...", "d"], ["a", "d", "e"], False),
        (["...", "d 1"], ["d 2"], True),
        (["a", "..."], ["a", "b", "c"], True),
        (["worst: ..."], ["worst: 90 about x"], True),
        (["worst: ..."], ["best: 90"], False),
        ([], ["a"], False),
    ],
    ids=range(11),
)
def test_shapes(expected, printed, same):
    assert (difference(expected, printed) is None) == same

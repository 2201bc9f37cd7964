"""The page of a system: how it is called, what it promises, which rows use it, in numbers that are counted."""

import torch
from torch import nn

from coset.interop.listing import Entry
from coset.report.site import write_site
from coset.report.systems import Use, functions_of, path_of, room_page, system_page, uses
from coset.task import Method, Stage

SOURCE = '''"""A net. (arXiv:1602.07576)

It follows Weiler (arXiv 1911.08251): ``y = x * w * x``.
"""

class Net(nn.Module):
    """Images to logits.

    Raises InputError for ``x <= 0``.
    """

    def __init__(self, width: int, *, depth: int = 3) -> None:
        pass

def _hidden():
    pass

@dataclass(frozen=True)
class Rule:
    """Of what to keep."""
    keep: int = 3

def long_name_of_a_function(first_argument: torch.Tensor, second_argument: torch.Tensor, third: int = 3) -> torch.Tensor:
    """Adds."""
'''


class Same(nn.Linear):
    """Of this module, so that a row can be seen to use it."""


def test_a_system_page_holds_call_docstring_contract_rows_and_papers(tmp_path):
    use = Use("digits", "a row", "What it <teaches>.", "cohen2016", 1234)
    page = system_page("coset.models.images.the_net", SOURCE, {"Net": ("C(4): image -> B x 10 x scalar",)}, [use])
    assert (page.path, page.title) == ("models/images/the_net.html", "the net: A net. (arXiv:1602.07576)")
    write_site(tmp_path, [page], {}, [])
    text = (tmp_path / page.path).read_text()
    for part in ("<code>y = x * w * x</code>", "<code>x &lt;= 0</code>", "C(4): image", "../../tasks/digits.html", "1.2k"):
        assert part in text, part
    for part in ("abs/1602.07576", "abs/1911.08251", "What it &lt;teaches&gt;.", "Group Equivariant Convolutional Networks"):
        assert part in text, part


def test_calls_are_written_as_in_the_source():
    parts = {section["title"]: _text(section["body"]) for section in functions_of(SOURCE)}
    assert list(parts) == ["Net", "Rule", "long_name_of_a_function"]
    assert parts["Net"].startswith("Net(width: int, *, depth: int = 3)")
    assert parts["Rule"].startswith("Rule(keep: int = 3)")
    assert "    first_argument: torch.Tensor,\n" in parts["long_name_of_a_function"]
    assert ") -> torch.Tensor" in parts["long_name_of_a_function"]


def test_a_row_uses_what_its_model_is_made_of_and_what_trains_it():
    frozen = nn.Linear(5, 5)
    frozen.requires_grad_(False)
    method = Method("one", lambda data: nn.Sequential(Same(3, 2), frozen), (Stage(objective=Same(1, 1)),), note="n", source="s")
    found = dict(uses("task", [(method, method.build(None))]))
    assert found[__name__] == Use("task", "one", "n", "s", 3 * 2 + 2)
    assert "torch.nn.modules.linear" in found


def test_a_row_may_be_any_callable():
    method = Method("one", lambda data: torch.sin, ())
    assert [use.parameters for _, use in uses("task", [(method, method.build(None))])] == [0]


def test_a_room_leads_to_its_systems(tmp_path):
    page = room_page("images", [Entry("Net(width=3)", "Images to logits", "coset.models.images.net", ("C(4) exact",))])
    write_site(tmp_path, [page], {}, [])
    text = (tmp_path / "models" / "images.html").read_text()
    assert '<a href="../models/images/net.html"><code>Net(width=3)</code></a>' in text
    assert "C(4) exact" in text
    assert path_of("coset.symmetrizers.average") == "models/symmetrizers/average.html"


def _text(body):
    from html import unescape

    from coset.report.prose import TAG

    return unescape(TAG.sub("", body))

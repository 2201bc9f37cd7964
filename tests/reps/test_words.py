import pytest

from coset.errors import InputError
from coset.reps.action import Fibre, Position, Recorded, Tensorial
from coset.reps.image import Image
from coset.reps.induced import RegularAxis
from coset.reps.sequence import Sequence
from coset.reps.words import WORDS, parse_kind


@pytest.mark.parametrize("word", sorted(WORDS))
def test_every_word_prints_as_one_that_means_the_same(word):
    assert parse_kind(str(parse_kind(word))) == parse_kind(word)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("tensor(2)", Tensorial(2)),
        ("tensor(rank=3)", Tensorial(3)),
        ("tensor(2, parity=true)", Tensorial(2, parity=True)),
        ("vector", Tensorial(1)),
        ("position", Position()),
        ("image", Image()),
        ("image()", Image()),
        ("image(16)", Image(16)),
        ("image( size=16x24 , disc=true )", Image((16, 24), disc=True)),
        ("image(16, bicubic, true)", Image(16, "bicubic", True)),
        ("regular(8)", RegularAxis(8)),
        ("sequence(periodic=false)", Sequence(periodic=False)),
        ("recorded(2)", Recorded(2)),
        ("regular_image", Fibre(RegularAxis(), Image())),
    ],
)
def test_arguments_are_parsed(text, kind):
    assert parse_kind(text) == kind
    assert parse_kind(str(kind)) == kind


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("imag", "did you mean 'image'"),
        ("tensor", "tensor\\(2\\)"),
        ("tensor(two)", "whole number"),
        ("tensor(1, 2, 3)", "takes \\(rank, parity\\)"),
        ("vector(3)", "no argument"),
        ("image(mode=area)", "bilinear"),
        ("image(fast=true)", "takes \\(size, mode, disc\\)"),
        ("regular(0)", "order"),
        ("Image", "no kind"),
        ("image(16", "no kind"),
        ("__import__('os')", "unknown kind"),
    ],
)
def test_what_is_no_kind_is_refused_with_a_hint(text, says):
    with pytest.raises(InputError, match=says):
        parse_kind(text)

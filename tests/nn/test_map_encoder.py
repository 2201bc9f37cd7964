"""Encoders halve the image at each stage; the one over C(n) keeps quarter turns exactly, in training too."""

import pytest
import torch

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.finite import C
from coset.nn.map_encoder import GroupEncoder, PlainEncoder, halved
from coset.testing import check


@pytest.mark.parametrize("order", [2, 4, 8])
def test_the_group_encoder_keeps_quarter_turns(order):
    torch.manual_seed(0)
    encoder = GroupEncoder((3, 4), group=C(order)).double()
    assert max(check(encoder).errors.values()) < 1e-12
    assert encoder(torch.zeros(1, 3, 16, 16, dtype=torch.float64)).shape == (1, 4, order, 4, 4)


def test_the_plain_encoder_does_not_and_says_so():
    torch.manual_seed(0)
    encoder = PlainEncoder((3, 4)).double()
    check(encoder)
    assert encoder(torch.zeros(1, 3, 28, 28, dtype=torch.float64)).shape == (1, 4, 7, 7)


def test_statistics_of_a_training_batch_do_not_break_it(generator):
    torch.manual_seed(0)
    encoder = GroupEncoder((3, 4)).double()
    x = torch.randn(4, 3, 16, 16, generator=generator, dtype=torch.float64)
    encoder.train()(x)
    contract = Contract(C(4), encoder.contracts[0].inputs, encoder.contracts[0].outputs)
    assert contract.error(encoder, x, torch.tensor(1)) < 1e-12


def test_sides_that_cannot_be_halved_are_refused():
    assert halved(224, 5) == 7
    with pytest.raises(InputError, match="divisible by 8"):
        halved(20, 3)
    with pytest.raises(InputError, match="halvings"):
        halved(8, 0)

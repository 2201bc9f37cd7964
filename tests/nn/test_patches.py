import pytest
import torch

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.permutation import S
from coset.nn.patches import PatchLinear, SoftThreshold
from coset.testing import check


def test_shared_weights_commute_with_permutations():
    torch.manual_seed(0)
    check(PatchLinear(5, 4).double())


@pytest.mark.parametrize("sharing", ["local", "dense"])
def test_other_sharing_does_not(sharing, generator):
    torch.manual_seed(0)
    layer = PatchLinear(5, 4, sharing=sharing).double()
    x = torch.randn(3, 5, 4, generator=generator, dtype=torch.float64)
    contract = Contract(S("K"), "B x K x 4 x scalar", "B x K x scalar").bind(x)
    assert contract.error(layer, x, contract.group.sample(1, generator=generator)[0]) > 0.1


def test_sharing_is_nested(generator):
    """Equal local filters are a shared one; a block-diagonal dense layer is a local one."""
    x = torch.randn(3, 5, 4, generator=generator)
    shared, local, dense = (PatchLinear(5, 4, sharing=s) for s in ("shared", "local", "dense"))
    assert [sum(p.numel() for p in layer.parameters()) for layer in (shared, local, dense)] == [4, 20, 100]
    with torch.no_grad():
        local.weight.copy_(shared.weight.expand(5, 4))
        dense.weight.copy_(torch.block_diag(*local.weight[:, None]))
        assert torch.allclose(local(x), shared(x), atol=1e-7)
        assert torch.allclose(dense(x), local(x), atol=1e-7)


def test_the_threshold_is_odd_and_silent_in_the_middle():
    phi = SoftThreshold(0.5)
    z = torch.linspace(-2, 2, 41)
    with torch.no_grad():
        assert torch.allclose(phi(z), -phi(-z))
        assert (phi(z)[z.abs() <= 0.5] == 0).all()
        assert torch.allclose(phi(torch.tensor([2.0])), torch.tensor([1.5]))


def test_bad_input_is_named():
    with pytest.raises(InputError, match="did you mean 'shared'"):
        PatchLinear(3, 4, sharing="share")
    with pytest.raises(InputError, match="at least 2 patches"):
        PatchLinear(1, 4)
    with pytest.raises(InputError, match="scale"):
        PatchLinear(3, 4, scale=0.0)
    with pytest.raises(InputError, match="b >= 0"):
        SoftThreshold(-1.0)

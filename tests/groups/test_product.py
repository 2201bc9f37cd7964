"""Products: D(n) and E(n) as semidirect products, factors, powers."""

import pytest
import torch

from coset.errors import ContractError
from coset.groups.euclidean import E, T
from coset.groups.finite import C, D
from coset.groups.group import Elements
from coset.groups.matrix import SO, O
from coset.groups.permutation import S
from coset.groups.product import Semidirect


@pytest.mark.parametrize("n", [1, 3, 4, 7])
def test_dihedral_group_is_a_semidirect_product(n):
    made = Semidirect(C(n), C(2), lambda h, r: torch.where(h == 1, -r, r) % n)

    def number(g: Elements) -> torch.Tensor:
        return g.parts[0] + n * g.parts[1]

    everyone = made.elements()
    assert len(everyone) == made.order == D(n).order
    g = Elements(*(p[:, None] for p in everyone.parts))
    torch.testing.assert_close(number(made.compose(g, everyone)), D(n).compose(number(everyone)[:, None], number(everyone)))
    torch.testing.assert_close(number(made.inverse(everyone)), D(n).inverse(number(everyone)))
    assert D(n).subgroup(number(made.generators())).order == D(n).order
    assert len(made.quadrature(0)) == 2 * n


@pytest.mark.parametrize("n", [1, 2, 3])
def test_euclidean_group_is_a_semidirect_product(n, generator):
    def turn(h, t):
        return T(n).element(shift=(h @ T(n).shift(t)[..., None])[..., 0])

    made = Semidirect(T(n), O(n), turn)

    def motion(g: Elements) -> torch.Tensor:
        return g.parts[0] @ E(n).element(g.parts[1])

    g, h = made.sample(20, generator=generator), made.sample(20, generator=generator)
    torch.testing.assert_close(motion(made.compose(g, h)), motion(g) @ motion(h), atol=1e-13, rtol=0)
    torch.testing.assert_close(motion(made.inverse(g)), E(n).inverse(motion(g)), atol=1e-13, rtol=0)
    assert made.dim == E(n).dim
    assert not made.compact
    with pytest.raises(ContractError, match="not finite"):
        made.elements()
    with pytest.raises(ContractError, match="no Haar mean"):
        made.quadrature(1)


def test_direct_product():
    group = C(4) * SO(3) * S(3)
    assert [str(part) for part in group.factors()] == ["C(4)", "SO(3)", "S(3)"]
    assert group.dim == 3
    assert (C(4) * S(3)).order == 24
    assert len(group.generators()) == 1 + 3 + 2
    rule = (C(4) * S(3)).quadrature(9)
    assert len(rule) == 24
    assert (C(4) * S(3)).contains(rule.elements).all()
    seen = {(int(g.parts[0]), *g.parts[1].tolist()) for g in rule.elements}
    assert len(seen) == 24


def test_no_power_of_a_product():
    with pytest.raises(ContractError, match="every factor"):
        (C(2) * C(3)) ** "B"
    with pytest.raises(ContractError, match="open"):
        (E(3) ** "B").sample(2)

"""A flow-equivariant cell carries every velocity's map along: its state obeys the law of flows, and a wrong sign breaks it."""

import copy

import pytest
import torch

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.euclidean import T
from coset.groups.flows import Flow, velocity_grid
from coset.nn.flow_rnn import (
    CircularConv2d,
    FlowCell,
    FlowRNN,
    LearnedMoves,
    Rolls,
    TurningCell,
    Turns,
    run_over,
    unit_rms,
)
from coset.reps.fields import Field
from coset.reps.frames import Frames, VelocityState
from coset.testing import Broken, check


@pytest.fixture
def frames(generator):
    return torch.randn(2, 6, 1, 16, 16, generator=generator, dtype=torch.float64)


def law_gap(cell, frames, nu, reach):
    """The largest ``|h'[mu] - roll(h[mu - nu], t nu)|`` over velocities with a partner, written out."""
    times = torch.arange(frames.shape[1]).view(-1, 1)
    moved = torch.stack([frames[:, t].roll(tuple((t * nu).tolist()), (-2, -1)) for t in times.flatten()], 1)
    h, flowing = run_over(cell, frames), run_over(cell, moved)
    grid, gaps = velocity_grid(reach), []
    for i, mu in enumerate(grid):
        partner = (grid == mu - nu).all(1).nonzero()
        if len(partner):
            want = h[:, int(partner)].roll(tuple(((frames.shape[1] - 1) * nu).tolist()), (-2, -1))
            gaps.append(float((flowing[:, i] - want).detach().abs().max()))
    return max(gaps)


@pytest.mark.parametrize("options", [{}, {"activation": "tanh"}, {"state_norm": True}], ids=["relu", "tanh", "norm"])
def test_the_state_flows_with_what_it_sees(frames, options):
    torch.manual_seed(0)
    cell = FlowCell(1, 3, reach=2, **options).double()
    assert max(law_gap(cell, frames, nu, 2) for nu in velocity_grid(2)) <= 1e-12


def test_the_contract_says_the_same(frames):
    torch.manual_seed(0)
    report = check(FlowRNN(FlowCell(1, 3, reach=2)).double(), {"frames": frames})
    assert max(report.errors.values()) <= 1e-12


class WrongSign(Rolls):
    """A twin that carries every map the other way: it trains, and it does not follow any motion."""

    def forward(self, h):
        return super().forward(h.flip(1)).flip(1)


class Late(FlowCell):
    """A twin that carries the state after the convolution with the input."""

    def forward(self, x, h):
        return torch.relu(self.moves(self.read(x).unsqueeze(1) + self.keep(h)))


@pytest.mark.parametrize(
    "cell",
    [lambda: FlowCell(1, 3, moves=WrongSign(velocity_grid(1))), lambda: Late(1, 3)],
    ids=["sign", "order"],
)
def test_broken_twins_are_caught(frames, cell):
    torch.manual_seed(0)
    with pytest.raises(Broken):
        check(FlowRNN(cell()).double(), {"frames": frames})


def test_learned_moves_promise_nothing_and_keep_no_law(frames):
    torch.manual_seed(0)
    cell = FlowCell(1, 3, moves=LearnedMoves(velocity_grid(1), 3)).double()
    assert not hasattr(FlowRNN(cell), "contracts")
    contract = Contract(
        Flow(T(2), 1), {"frames": Field(("B",), Frames())}, {"state": Field(("B",), VelocityState(1, of="frames"))}
    )
    assert contract.error(FlowRNN(cell), {"frames": frames}, torch.tensor([1, 0])) > 0.1


def test_mixing_over_velocities_is_exact_on_a_closed_list():
    torch.manual_seed(0)
    x = torch.randn(2, 5, 1, 5, 5, dtype=torch.float64)
    report = check(FlowRNN(FlowCell(1, 2, reach=2, mixing=1, cyclic=True)).double(), {"frames": x})
    assert max(report.errors.values()) <= 1e-12
    assert not hasattr(FlowRNN(FlowCell(1, 2, reach=2, mixing=1)), "contracts")


def test_turning_states_are_exact_for_quarter_turns():
    torch.manual_seed(0)
    assert max(check(FlowRNN(TurningCell(1, 2, reach=2)).double()).errors.values()) <= 1e-12
    (contract,) = FlowRNN(TurningCell(1, 2, unit=10.0, order=36)).contracts
    assert contract.claim == "approximate"


def test_a_cell_of_one_velocity_is_a_convolutional_rnn(frames):
    torch.manual_seed(0)
    cell = FlowCell(1, 3, reach=0).double()
    h = torch.zeros(2, 3, 16, 16, dtype=torch.float64)
    for x in frames.unbind(1):
        h = torch.relu(cell.read(x) + cell.keep(h))
    assert torch.equal(run_over(cell, frames)[:, 0], h)
    assert sum(p.numel() for p in cell.parameters()) == sum(p.numel() for p in FlowCell(1, 3, reach=2).parameters())


def test_fourier_shifts_meet_rolls_at_whole_pixels_and_compose_between(generator):
    h = torch.randn(1, 9, 2, 9, 9, generator=generator, dtype=torch.float64)
    grid = velocity_grid(1)
    assert torch.allclose(Rolls(grid, mode="fourier")(h), Rolls(grid)(h), atol=1e-12)
    half = Rolls(grid / 2, mode="fourier")
    assert torch.allclose(half(half(h)), Rolls(grid)(h), atol=1e-12)


def test_the_group_axis_turns_along(generator):
    h = torch.randn(1, 3, 2, 4, 8, 8, generator=generator, dtype=torch.float64)
    moved = Turns(torch.tensor([[-90.0], [0.0], [90.0]]), 4)(h)
    assert torch.equal(moved[:, 1], h[:, 1])
    assert torch.equal(moved[:, 2], torch.rot90(h[:, 2], 1, (-2, -1)).roll(1, 2))


def test_the_norm_bounds_every_map_and_leaves_small_ones(generator):
    h = torch.randn(2, 3, 4, 5, 5, generator=generator) * torch.tensor([0.1, 1.0, 10.0]).view(1, 3, 1, 1, 1)
    size = unit_rms(h).flatten(2).square().mean(2).sqrt()
    assert float(size.max()) <= 1 + 1e-6
    assert torch.equal(unit_rms(h)[:, 0], h[:, 0])


def test_velocities_are_kept_with_the_weights_and_compared():
    cell, other = FlowCell(1, 2, reach=1), FlowCell(1, 2, moves=Rolls(velocity_grid(1).flip(0)))
    FlowCell(1, 2, reach=1).load_state_dict(copy.deepcopy(cell.state_dict()))
    with pytest.raises(InputError, match="same list in the same order"):
        other.load_state_dict(cell.state_dict())


def test_bad_input_is_refused(frames):
    with pytest.raises(InputError, match="fourier"):
        Rolls(torch.tensor([[0.5, 0.0], [-0.5, 0.0]]))
    with pytest.warns(UserWarning, match="negation"):
        Rolls(torch.tensor([[1, 0], [0, 0]]))
    with pytest.raises(InputError, match="too small"):
        run_over(FlowCell(1, 2, reach=2).double(), frames[..., :6, :6])
    with pytest.raises(InputError, match="T >= 2"):
        run_over(FlowCell(1, 2).double(), frames[:, :1])
    with pytest.raises(InputError, match="square"):
        run_over(TurningCell(1, 2).double(), frames[..., :12])
    with pytest.raises(InputError, match="odd"):
        CircularConv2d(1, 1, kernel=4)
    with pytest.raises(InputError, match="activation"):
        FlowCell(1, 2, activation="gelu")

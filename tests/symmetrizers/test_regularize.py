import dataclasses

import pytest
import torch
from torch import nn

from coset.contract import Contract
from coset.errors import ContractError, InputError
from coset.groups.euclidean import Scale
from coset.groups.finite import C, Tetrahedral
from coset.groups.matrix import SL, SO, O
from coset.models.points.tensor_mlp import CANDIDATES, GROUPS, SoftLinear, TensorMLP, allocation, contract
from coset.objectives.penalized import Penalized
from coset.objectives.supervised import Supervised
from coset.reps.defining import Vector, tensor
from coset.reps.intertwiners import reynolds
from coset.symmetrizers.regularize import (
    OutputRegularizer,
    Projection,
    WeightRegularizer,
    distances,
    found,
    functional_error,
    impose,
    impose_found,
)

RANKS = (3, 2, 1)
ALL = {**GROUPS, "SO(3)": SO(3), "tetrahedral": Tetrahedral(), "scaling": Scale(3), "SL(3)": SL(3)}


def sample(n=6, seed=0):
    g = torch.Generator().manual_seed(seed)
    return {
        "mass": torch.rand(n, 5, generator=g, dtype=torch.float64),
        "pos": torch.randn(n, 5, 3, generator=g, dtype=torch.float64),
    }


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(("dtype", "tol"), [(torch.float64, 1e-11), (torch.float32, 1e-5)])
def test_projector_laws(name, dtype, tol, generator):
    group = ALL[name]
    rep_in, rep_out = allocation(group, RANKS), allocation(group, (2, 1, 2))
    project = Projection(rep_in, rep_out)
    w = torch.randn(rep_out.dim, rep_in.dim, generator=generator, dtype=torch.float64).to(dtype)
    v = torch.randn(w.shape, generator=generator, dtype=torch.float64).to(dtype)
    p = project(w)
    assert p.dtype == dtype
    assert (project(p) - p).abs().max() < tol
    assert ((project(v) * w).sum() - (v * p).sum()).abs() < tol * 100  # symmetric
    g = group.sample(4, generator=generator, dtype=torch.float64)
    rin, rout = rep_in.matrix(g).to(dtype), rep_out.matrix(g).to(dtype)
    scale = max(1.0, float(rin.abs().max()), float(rout.abs().max()))
    assert (rout @ p - p @ rin).abs().max() < tol * 10 * scale
    assert torch.allclose(project.distance(w), 0.5 * (w - p).square().sum(), rtol=1e-4)


@pytest.mark.parametrize("name", ["O(3)", "O(2)z", "tetrahedral"])
def test_blocks_give_the_same_as_the_reynolds_mean(name, generator):
    rep_in, rep_out = allocation(ALL[name], RANKS), allocation(ALL[name], (2, 1, 2))
    w = torch.randn(rep_out.dim, rep_in.dim, generator=generator, dtype=torch.float64)
    assert torch.allclose(Projection(rep_in, rep_out)(w), reynolds(w, rep_in, rep_out), atol=1e-12)


def test_images_turned_by_quarters_project_as_well(generator):
    rep = tensor(C(4), 2) + Vector(C(4))
    project = Projection(rep, rep)
    w = torch.randn(rep.dim, rep.dim, generator=generator, dtype=torch.float64)
    rho = rep.matrix(torch.tensor(1))
    assert (rho @ project(w) - project(w) @ rho).abs().max() < 1e-12


def test_codimension_counts_the_directions_pulled():
    group = O(3)  # vector -> vector: 1 of 9 directions is kept for each pair of copies
    assert Projection(2 * Vector(group), 3 * Vector(group)).codimension == 6 * 8


def test_weights_at_distance_zero_are_functions_at_error_zero():
    torch.manual_seed(0)
    for name in ("O(2)x", "O(3)"):
        model = TensorMLP(hidden=(4, 3, 2), symmetry=name).double()
        for group in (name, "O(2)x"):
            assert WeightRegularizer(GROUPS[group])(model).item() < 1e-20
            assert functional_error(model, contract(GROUPS[group]), sample()) < 1e-10
        if name != "O(3)":
            assert WeightRegularizer(O(3))(model).item() > 1e-2
            assert functional_error(model, contract(O(3)), sample()) > 1e-3


def test_a_nonlinearity_that_is_not_equivariant_is_caught():
    """The broken twin: relu on vector components leaves every weight at distance zero and the function wrong."""
    torch.manual_seed(0)

    class Twin(TensorMLP):
        def forward(self, mass, pos):
            return super().forward(mass, torch.relu(pos))

    model = Twin(hidden=(4, 3, 2), symmetry="O(3)").double()
    assert WeightRegularizer(O(3))(model).item() < 1e-20
    assert functional_error(model, contract(O(3)), sample()) > 1e-5  # an untrained one gives nearly multiples of 1


def test_descent_on_the_distance_reaches_the_group():
    torch.manual_seed(0)
    model = TensorMLP(hidden=(4, 3, 2)).double()
    regularizer = WeightRegularizer(CANDIDATES["O(2)z"])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.9)
    for _ in range(12):
        optimizer.zero_grad()
        regularizer(model).backward()
        optimizer.step()
    assert functional_error(model, contract(CANDIDATES["O(2)z"]), sample()) < 1e-9
    assert functional_error(model, contract(CANDIDATES["O(2)x"]), sample()) > 1e-3
    apart = distances(model, CANDIDATES)
    assert min(apart, key=lambda name: apart[name][1]) == "O(2)z"


def test_imposing_what_was_found_is_exact_and_stays_so():
    torch.manual_seed(0)
    model = TensorMLP(hidden=(4, 3, 2)).double()
    model.strengths.copy_(torch.tensor([0.1, 1.0, 0.2]))
    assert found(model, CANDIDATES) == "O(2)y"
    model, data = impose_found(CANDIDATES)(model, "data")
    assert data == "data"
    assert model.config["symmetry"] == "O(2)y"
    x = sample()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        (model(**x) - 1).square().mean().backward()
        optimizer.step()
    assert functional_error(model, model.contracts[0], x) < 1e-12
    again = TensorMLP(**model.config).double()
    again.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(again(**x), model(**x))
    impose(model, O(3))
    assert functional_error(model, contract(O(3)), x) < 1e-12


def test_without_strengths_the_nearest_group_is_found():
    torch.manual_seed(0)
    assert found(TensorMLP(hidden=(4, 3, 2), symmetry="O(2)x"), CANDIDATES) == "O(2)x"


# ---------------------------------------------------------------------- in output space

turns = Contract(SO(2), "B x 2 x scalar", "B x scalar")
spun = Contract(SO(2), "B x vector", "B x vector")


def test_output_penalty_vanishes_for_an_equivariant_model_only(generator):
    x = {"x": torch.randn(50, 2, generator=generator, dtype=torch.float64)}
    penalty = OutputRegularizer(spun)
    assert penalty(lambda x: 3 * x * x.norm(dim=1, keepdim=True), x, generator) < 1e-20
    assert penalty(lambda x: x.relu(), x, generator) > 0.1


def test_output_penalty_is_the_stated_ratio(generator):
    x = {"x": torch.randn(4000, 2, generator=generator, dtype=torch.float64)}
    # f keeps the first coordinate: f(gx) - g f(x) has the mean square of 2 * sin^2 on average, f that of 1
    value = OutputRegularizer(spun)(lambda x: x * torch.tensor([1.0, 0.0], dtype=x.dtype), x, generator)
    assert abs(value - 1.0) < 0.1


def test_a_shared_pass_gives_the_same_penalty(generator):
    torch.manual_seed(0)
    model = nn.Linear(2, 2)
    batch = {"x": torch.randn(8, 2, generator=generator), "y": torch.zeros(8, 2)}
    penalty, base = OutputRegularizer(spun, 2.0), Supervised("mse")
    shared = Penalized(base, penalty, seed=1)(model, batch)

    class Alone:
        name, strength = penalty.name, 2.0

        def __call__(self, model, batch, generator):
            return penalty(model, batch, generator)

    alone = Penalized(base, Alone(), seed=1)(model, batch)
    assert torch.allclose(shared["loss"], alone["loss"])
    assert torch.allclose(shared["base"], base(model, batch)["loss"])


def test_a_view_is_what_is_compared(generator):
    shifts = dataclasses.replace(Contract(C(4), "B x vector", "B x 3 x scalar"), view=lambda y: y - y.mean(-1, keepdim=True))
    x = {"x": torch.randn(20, 2, generator=generator)}

    def model(x):
        return torch.tensor([1.0, 2.0, 3.0]) + x[:, :1]

    assert OutputRegularizer(shifts)(model, x, generator) < 1e-10
    assert OutputRegularizer(dataclasses.replace(shifts, view=None))(model, x, generator) > 0.01


def test_bad_input_is_named():
    with pytest.raises(InputError, match="strength is >= 0"):
        WeightRegularizer(O(3), -0.1)
    with pytest.raises(InputError, match="no layer with declared representations"):
        WeightRegularizer(O(3))(nn.Linear(3, 3))
    with pytest.raises(InputError, match="at least one candidate"):
        impose_found({})
    with pytest.raises(InputError, match="degree"):
        WeightRegularizer(O(3), rule=O(3).quadrature(1))(SoftLinear((0, 1, 0), (0, 0, 1)))
    with pytest.raises(InputError, match="no orthogonal projection"):
        Projection(Vector(Scale(3)), Vector(Scale(3)), rule=O(3).quadrature(2))

    class Short(SoftLinear):
        def reps(self, group):
            return allocation(group, (0, 2, 0)), allocation(group, (0, 1, 0))

    with pytest.raises(ContractError, match="must act on the same features"):
        WeightRegularizer(O(3))(Short((0, 1, 0), (0, 1, 0)))

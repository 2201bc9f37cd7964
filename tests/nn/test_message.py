import pytest
import torch
from torch import nn

from coset.errors import InputError
from coset.nn.message import MessagePassing, mlp
from coset.testing import Broken, check


def loud(layer):
    """Positions that move as much as features do."""
    if layer.shift is not None:
        nn.init.normal_(layer.shift[-1].weight)
    return layer.double()


@pytest.mark.parametrize(
    "kwargs", [{}, {"velocity": True}, {"edge_features": 2}, {"move": False}, {"velocity": True, "move": False}]
)
@pytest.mark.parametrize("space", [2, 3])
def test_the_layer_is_equivariant_and_ignores_the_order_of_nodes(kwargs, space, generator):
    torch.manual_seed(0)
    layer = loud(MessagePassing(4, space=space, **kwargs))
    x = layer.contracts[0].inputs.example({"N": 5, "E": 12}, space=space, generator=generator)
    assert max(check(layer, x).errors.values()) < 1e-10


def test_messages_go_from_source_to_target(generator):
    torch.manual_seed(0)
    layer = loud(MessagePassing(3))
    h, x = torch.randn(2, 3, generator=generator).double(), torch.randn(2, 3, generator=generator).double()
    edge_index = torch.tensor([[0], [1]])
    before = layer(h, x, edge_index)
    h[0] += 1
    after = layer(h, x, edge_index)
    assert not torch.equal(before["h"][1], after["h"][1])
    assert torch.equal(after["x"][0], x[0])  # nothing points at node 0


def test_message_and_update_are_pluggable(generator):
    layer = MessagePassing(3, message=lambda e: e[:, :3] * 0 + 1, update=lambda u: u[:, 3:], move=False)
    h, x = torch.zeros(3, 3), torch.randn(3, 3, generator=generator)
    out = layer(h, x, torch.tensor([[0, 1, 0], [2, 2, 1]]))
    assert torch.equal(out["h"], torch.tensor([[0.0], [1.0], [2.0]]).expand(3, 3))
    assert torch.equal(out["x"], x)


def test_without_edges_and_with_nodes_at_one_place(generator):
    layer = loud(MessagePassing(3, velocity=True))
    h, x, v = (torch.randn(3, 3, generator=generator).double() for _ in range(3))
    empty = layer(h, x, torch.zeros(2, 0, dtype=torch.int64), v)
    assert torch.isfinite(empty["x"]).all()
    same = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
    layer(h, same, torch.tensor([[0, 1], [1, 2]]), v)["x"].sum().backward()
    assert torch.isfinite(same.grad).all()


class Absolute(MessagePassing):
    """A broken twin: positions leak into features."""

    def forward(self, h, x, edge_index, v=None, edge_attr=None):
        return super().forward(h + x.sum(-1, keepdim=True), x, edge_index, v, edge_attr)


def test_the_broken_twin_is_caught(generator):
    layer = loud(Absolute(4))
    x = layer.contracts[0].inputs.example({"N": 4, "E": 6}, generator=generator)
    with pytest.raises(Broken):
        check(layer, x)


def test_bad_input_is_named(generator):
    layer, edges = MessagePassing(3, 1), torch.tensor([[0], [1]])
    h = torch.zeros(2, 3)
    with pytest.raises(InputError, match="edge features"):
        layer(h, h, edges)
    with pytest.raises(InputError, match="v is given"):
        layer(h, h, edges, h, torch.zeros(1, 1))
    with pytest.raises(InputError, match="v is missing"):
        MessagePassing(3, velocity=True)(h, h, edges)
    with pytest.raises(InputError, match="positive"):
        MessagePassing(0)
    assert len(mlp(1, 2, 3, last=False)) == 4


@pytest.mark.parametrize("kwargs", [{}, {"velocity": True}, {"edge_features": 2}, {"residual": False}])
def test_frames_on_one_graph_are_what_they_are_alone(kwargs, generator):
    torch.manual_seed(0)
    layer = loud(MessagePassing(4, **kwargs))
    edge_index = torch.tensor([[0, 1, 2, 3, 0], [1, 0, 3, 2, 3]])

    def draw(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    many = {"h": draw(4, 3, 4), "x": draw(4, 3, 3)}
    if layer.velocity:
        many["v"] = draw(4, 3, 3)
    if layer.edge_features:
        many["edge_attr"] = draw(5, 3, 2)
    whole = layer(edge_index=edge_index, **many)
    for frame in range(3):
        alone = layer(edge_index=edge_index, **{name: value[:, frame] for name, value in many.items()})
        for name, value in alone.items():
            assert torch.allclose(whole[name][:, frame], value, atol=1e-12)


def test_without_residual_features_are_the_update(generator):
    torch.manual_seed(0)
    layer = MessagePassing(3, residual=False, move=False)
    h, x, edge_index = torch.randn(2, 3, generator=generator), torch.zeros(2, 3), torch.tensor([[0], [1]])
    plain = layer(h, x, edge_index)["h"]
    layer.residual = True
    assert torch.allclose(layer(h, x, edge_index)["h"], plain + h)


def test_damped_steps_do_not_outgrow_distances(generator):
    torch.manual_seed(0)
    h, x = (torch.randn(6, n, generator=generator).double() for n in (8, 3))
    edge_index = torch.stack(torch.where(~torch.eye(6, dtype=torch.bool)))
    for damped in (True, False):
        layer = loud(MessagePassing(8, damped=damped))
        step = (layer(h, 1e6 * x, edge_index)["x"] - 1e6 * x).abs().max()
        assert bool(step < 1e6) is damped
    check(loud(MessagePassing(4, damped=True)))


def test_the_first_layer_on_nodes_is_the_first_layer_on_edges(generator):
    torch.manual_seed(0)
    layer = MessagePassing(4, 2).double()
    h, edge = (torch.randn(5, n, generator=generator, dtype=torch.float64) for n in (4, 3))
    source, target = torch.tensor([0, 1, 2, 3, 4]), torch.tensor([4, 4, 0, 1, 2])
    joined = torch.cat([h[target], h[source], edge], -1)
    assert torch.allclose(layer._message(h, edge, source, target), layer.message(joined), atol=1e-13)

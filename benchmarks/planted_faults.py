"""Models that are exact but for one fault that users meet, and the parts they are made of: what causes are tried on.

Images first, then vectors and points, graphs and functions. Which fault each stands for is said where they are used,
``benchmarks/accept/causes.py``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coset.groups.finite import C
from coset.nn.group_conv import GroupConv2d, GroupPool, LiftingConv2d


def draws(*shape: int) -> Tensor:
    """Normal numbers, the same every time."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def pictures(size: int) -> Callable[[], Tensor]:
    return lambda: draws(3, 1, size, size)


# ---------------------------------------------------------------------------------------------------- images


class Isotropic(nn.Module):
    """Convolutions whose kernels are alike under turns and flips, a mean over the pixels, a linear head."""

    def __init__(self, stride: int = 1, mode: str = "zeros", padding: int = 1, sliced: bool = False) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=padding, padding_mode=mode, stride=stride)
        self.second = nn.Conv2d(4, 4, 3, padding=padding, padding_mode=mode)
        self.head = nn.Linear(4, 2)
        self.sliced = sliced
        self.double()
        with torch.no_grad():
            for conv in (self.first, self.second):
                turned = [torch.rot90(w, k, (-2, -1)) for k in range(4) for w in (conv.weight, conv.weight.flip(-1))]
                conv.weight.copy_(torch.stack(turned).mean(0))

    def maps(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        return F.relu(self.second(x[..., ::2, ::2] if self.sliced else x))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.maps(x).mean((-1, -2)))


class Maps(Isotropic):
    """The same without the mean: an image for an image."""

    def forward(self, x: Tensor) -> Tensor:
        return self.maps(x)


class Embedded(Isotropic):
    """A learned embedding of places on the first maps."""

    def __init__(self, size: int, table: bool) -> None:
        super().__init__(mode="circular")
        self.table = nn.Embedding(size * size, 4) if table else None
        if table:
            return
        self.pos = nn.Parameter(0.3 * torch.randn(4, size, size).double())

    def maps(self, x: Tensor) -> Tensor:
        x = self.first(x)
        if self.table is None:
            return F.relu(x + self.pos)
        places = torch.arange(x.shape[-1] ** 2)
        return F.relu(x + self.table(places).T.unflatten(-1, x.shape[-2:]))


class Coordinates(Isotropic):
    """Coordinates of the pixels beside their values."""

    def maps(self, x: Tensor) -> Tensor:
        line = torch.linspace(-1, 1, x.shape[-1], dtype=x.dtype)
        return F.relu(self.first(x) + line * line.unsqueeze(1) + line)


class Patches(nn.Module):
    """Patches of 4 pixels, a token for the class, learned places, one layer of attention."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.head = nn.Conv2d(1, 8, 4, stride=4), nn.Linear(8, 2)
        self.pos, self.token = nn.Parameter(0.2 * torch.randn(1, 17, 8)), nn.Parameter(torch.randn(1, 1, 8))
        self.mix = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        tokens = torch.cat([self.token.expand(len(x), -1, -1), self.patch(x).flatten(2).mT], 1)
        return self.head(self.mix(tokens + self.pos)[:, 0])


class Flow(nn.Module):
    """The gradient of an image as vectors, its y axis pointing down."""

    def forward(self, x: Tensor) -> Tensor:
        right = torch.roll(x, -1, -1) - torch.roll(x, 1, -1)
        down = torch.roll(x, -1, -2) - torch.roll(x, 1, -2)
        return torch.stack([(right * x.square()).sum((-1, -2)), (down * x.square()).sum((-1, -2))], -1).squeeze(-2)


def group_cnn(*, middle: nn.Module | None = None, dropped: bool = False) -> nn.Module:
    group = C(4)
    layers = [LiftingConv2d(1, 3, group=group), nn.ReLU(), GroupConv2d(3, 2, group=group), middle, GroupPool(2, group)]
    return nn.Sequential(*(layer for layer in layers if layer is not None), Pixels(dropped))


class Pixels(nn.Module):
    """Dropout of pixels as it is often written, training or not, and the mean."""

    def __init__(self, dropped: bool) -> None:
        super().__init__()
        self.dropped = dropped

    def forward(self, x: Tensor) -> Tensor:
        return (F.dropout(x, 0.3) if self.dropped else x).mean((-1, -2))


def single(net: nn.Module) -> Callable[[Tensor], Tensor]:
    """A function that casts: the model is in float32, the data are not."""
    return lambda x: net(x.float()).double()


# ---------------------------------------------------------------------------------------------------- vectors and points


class Vectors(nn.Module):
    """Vectors (N, 3) to vectors: channels mixed, gated by lengths; ``middle`` acts on (N, channels, 3)."""

    def __init__(self, middle: nn.Module | None = None, offset: bool = False) -> None:
        super().__init__()
        self.up, self.gate, self.down = nn.Linear(1, 6, bias=False), nn.Linear(6, 6), nn.Linear(6, 1, bias=False)
        self.middle = middle or nn.Identity()
        self.bias = nn.Parameter(0.3 * torch.randn(6, 3)) if offset else None

    def forward(self, v: Tensor) -> Tensor:
        h = self.up(v.unsqueeze(-1)).mT
        h = h if self.bias is None else h + self.bias
        h = self.middle(h)
        return self.down((h * torch.sigmoid(self.gate(h.norm(dim=-1))).unsqueeze(-1)).mT).squeeze(-1)


class Channels(nn.Module):
    """Vectors (N, 3) through linear layers over channels of vectors."""

    def __init__(self, bias: bool = False, act: Callable[[Tensor], Tensor] = lambda h: h) -> None:
        super().__init__()
        self.layers, self.act = nn.ModuleList(nn.Linear(a, b, bias=bias) for a, b in ((1, 8), (8, 8), (8, 1))), act

    def forward(self, v: Tensor) -> Tensor:
        h = self.act(self.layers[0](v.unsqueeze(-1)))
        return self.layers[2](self.act(self.layers[1](h))).squeeze(-1)


class Along(nn.Module):
    """A bias for every element of the group."""

    def __init__(self) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.randn(1, 1, 4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.offset


class Single(nn.Module):
    """A cast to float32 and back."""

    def forward(self, x: Tensor) -> Tensor:
        return x.float().to(x.dtype)


class NumPy(nn.Module):
    """The same, out of torch's sight."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(x.detach().numpy().astype("float32").astype("float64"))


class Components(nn.Module):
    """Batch norm of the components of vectors (N, C, 3): no more than a factor in eval mode before training."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(18)

    def forward(self, h: Tensor) -> Tensor:
        return self.norm(h.flatten(1)).view_as(h)


class Flat(nn.Module):
    """Features 4x0 + 4x1 as one row, as irreps are kept: a linear layer per degree, one pointwise function or one bias."""

    def __init__(self, act: Callable[[Tensor], Tensor] = lambda h: h, bias: bool = False) -> None:
        super().__init__()
        self.scalars, self.vectors, self.act = nn.Linear(1, 4), nn.Linear(1, 4, bias=False), act
        self.bias = nn.Parameter(torch.randn(16)) if bias else None

    def forward(self, v: Tensor) -> Tensor:
        h = torch.cat([self.scalars(v.norm(dim=-1, keepdim=True)), self.vectors(v.unsqueeze(-1)).mT.flatten(1)], 1)
        h = self.act(h if self.bias is None else h + self.bias)
        return (h[:, :4].unsqueeze(-1) * h[:, 4:].unflatten(1, (4, 3))).sum(1)


class LocalFrames(nn.Module):
    """Vectors turned into the frame of two of them, a network there, and back: by the transpose where ``wrong``."""

    def __init__(self, wrong: bool) -> None:
        super().__init__()
        self.net, self.wrong = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 3)), wrong

    def forward(self, v: Tensor) -> Tensor:
        a = v[0] / v[0].norm()
        b = v[1] - (v[1] @ a) * a
        b = b / b.norm()
        frame = torch.stack([a, b, torch.linalg.cross(a, b)])  # rows: local = frame @ v
        local = self.net(v @ frame.mT)
        return local @ frame.mT if self.wrong else local @ frame


class Turning(nn.Module):
    """The frame itself, as columns, where rows are declared."""

    def forward(self, v: Tensor) -> Tensor:
        a = v[0] / v[0].norm()
        b = v[1] - (v[1] @ a) * a
        b = b / b.norm()
        return torch.stack([a, b, torch.linalg.cross(a, b)], -1)


class Spin(nn.Module):
    """Cross products, declared as vectors."""

    def forward(self, v: Tensor) -> Tensor:
        return torch.linalg.cross(v, v.roll(1, 0))


class Cloud(nn.Module):
    """Points to one number by pairs; with ``raw``, where they stand matters, too."""

    def __init__(self, raw: bool = False, labels: int = 0) -> None:
        super().__init__()
        self.pair = nn.Sequential(nn.Linear(1, 8), nn.SiLU(), nn.Linear(8, 1))
        self.raw, self.node = raw, nn.Embedding(labels, 1) if labels else None

    def forward(self, pos: Tensor) -> Tensor:
        pairs = self.pair((pos.unsqueeze(0) - pos.unsqueeze(1)).square().sum(-1, keepdim=True)).mean((1, 2))
        if self.raw:
            pairs = pairs + torch.tanh(pos.norm(dim=-1))
        if self.node is not None:
            pairs = pairs * self.node(torch.arange(len(pos))).squeeze(-1)
        return pairs.sum()


class Neighbors(nn.Module):
    """Sums over neighbours within 2, at most ``max_neighbors`` of them, the first in the order of ``along``."""

    def __init__(self, max_neighbors: int = 4, along: str = "index") -> None:
        super().__init__()
        self.max_neighbors, self.along = max_neighbors, along
        self.net = nn.Sequential(nn.Linear(1, 8), nn.SiLU(), nn.Linear(8, 1))

    def forward(self, pos: Tensor) -> Tensor:
        i, j = capped(pos, most=self.max_neighbors, along=self.along)
        return self.net((pos[i] - pos[j]).norm(dim=-1, keepdim=True)).new_zeros(len(pos), 1).index_add(
            0, i, self.net((pos[i] - pos[j]).norm(dim=-1, keepdim=True))
        ).tanh()  # fmt: skip


def capped(pos: Tensor, *, most: int, along: str = "index") -> Tensor:
    """Edges (2, E) within 2, the first ``most`` into every node, in the order of the index or of x."""
    rank = torch.arange(len(pos)) if along == "index" else pos[:, 0].argsort().argsort()
    near = (torch.cdist(pos, pos) < 2.0) & ~torch.eye(len(pos), dtype=torch.bool)
    order = torch.where(near, rank.expand(len(pos), -1), len(pos) + 1)
    kept = order <= order.sort(1).values[:, most - 1 : most]
    return (near & kept).nonzero().T


def summed(pos: Tensor) -> Tensor:
    """The same graph in a function without numbers that could be lifted."""
    i, j = capped(pos, most=5)
    return torch.zeros(len(pos), dtype=pos.dtype).index_add(0, i, (pos[i] - pos[j]).norm(dim=-1).sin()).tanh()


def capped_degrees(pos: Tensor, k: int) -> Tensor:
    i, j = capped(pos, most=k)
    return torch.zeros(len(pos), dtype=pos.dtype).index_add(0, i, (pos[i] - pos[j]).square().sum(-1)).tanh()


class Nearest(nn.Module):
    """The three nearest neighbors, of which a lattice has six."""

    def forward(self, pos: Tensor) -> Tensor:
        distance = torch.cdist(pos, pos).round(decimals=6) + 1e9 * torch.eye(len(pos), dtype=pos.dtype)
        index = distance.topk(3, largest=False).indices
        return torch.tanh((pos[index].mean(1) - pos).norm(dim=-1, keepdim=True) + 1)


class Periodic(nn.Module):
    """The energy of points in a cell by the nearest images."""

    def forward(self, pos: Tensor, cell: Tensor) -> Tensor:
        gap = pos.unsqueeze(0) - pos.unsqueeze(1)
        fraction = gap @ torch.linalg.inv(cell)
        return torch.exp(-((fraction - fraction.round()) @ cell).square().sum(-1)).sum()


class Messages(nn.Module):
    """Edge vectors that were computed before weigh the differences of positions."""

    def forward(self, pos: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        i, j = edge_index
        weight = torch.tanh(((pos[i] - pos[j]) * edge_attr).sum(-1, keepdim=True))
        return torch.zeros_like(pos).index_add(0, i, weight * (pos[i] - pos[j]))


class Weighted(nn.Module):
    """A weight and a vector on every edge, in one row."""

    def forward(self, pos: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        i, j = edge_index
        weight = torch.tanh(((pos[i] - pos[j]) * edge_attr[:, 1:]).sum(-1) * edge_attr[:, 0])
        return torch.zeros(len(pos), dtype=pos.dtype).index_add(0, i, weight)


class Wind(nn.Module):
    """A direction that was stored with the model."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("wind", torch.tensor([0.3, -1.0, 0.5]))

    def forward(self, v: Tensor) -> Tensor:
        return v * (v @ self.wind).sigmoid().unsqueeze(-1)


class Branch(nn.Module):
    """A branch that turns with nothing, weighed by a number that is no bias."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.5))

    def forward(self, v: Tensor) -> Tensor:
        return v * (1 + self.scale * v[:, :1])


def noisy(v: Tensor) -> Tensor:
    return v * (1 + 0.1 * torch.randn_like(v))


def kept_training(net: nn.Module) -> Callable[[Tensor], Tensor]:
    """A network that a function holds in training mode."""
    return lambda x: net(x)

"""The callback measures what an audit measures, tells every logger, and leaves the training as it found it."""

import csv

import pytest
import torch
from torch import nn

from coset.audits.equivariance import equivariance_error
from coset.contract import Contract
from coset.errors import InputError
from coset.groups.finite import C, D

pl = pytest.importorskip("lightning.pytorch")
from lightning.pytorch.loggers import CSVLogger  # noqa: E402

from coset.interop.lightning import EquivarianceCallback  # noqa: E402

# Lightning speaks of few workers and few batches, and uses what torch has deprecated
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

TURNS, FLIPS = (Contract(group, "B x vector", "B x scalar") for group in (C(4), D(1)))
QUIET = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False, "accelerator": "cpu"}


class Module(pl.LightningModule):
    """|x|^2 plus ``weight`` times the first coordinate, trained with dropout and batch norm beside it."""

    def __init__(self, weight=0.0):
        super().__init__()
        self.net = Net(weight)
        self.aside = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(0.5), nn.Linear(2, 1))
        self.seen = []

    def forward(self, x):
        return self.net(x)

    def training_step(self, x):
        self.seen.append((float(torch.rand(())), [module.training for module in self.modules()]))
        return (self.net(x) - x[:, 0] + 0 * self.aside(x)[:, 0]).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Net(nn.Module):
    contracts = (TURNS,)

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(float(weight)))

    def forward(self, x):
        return x.square().sum(-1) + self.weight * x[..., 0]


def trained(*callbacks, epochs=3, module=None, **options):
    torch.manual_seed(0)
    module = module or Module()
    loader = torch.utils.data.DataLoader(torch.randn(16, 2), batch_size=8)
    trainer = pl.Trainer(max_epochs=epochs, callbacks=list(callbacks), **{"logger": False, **QUIET, **options})
    trainer.fit(module, loader)
    return module, trainer


@pytest.fixture
def sample(generator):
    return torch.randn(6, 2, generator=generator)


def test_an_error_that_training_makes_is_seen(sample, tmp_path):
    watch = EquivarianceCallback([TURNS, FLIPS], sample, every=2)
    module, trainer = trained(watch, epochs=4, logger=CSVLogger(tmp_path), log_every_n_steps=1)
    names = ["equivariance_error/C(4)", "equivariance_error/D(1)"]
    assert [line["epoch"] for line in watch.history] == [0, 2, 4]
    assert watch.history[0][names[0]] <= 1e-12
    for name, contract in zip(names, (TURNS, FLIPS), strict=True):
        assert watch.history[-1][name] == equivariance_error(module.net, contract, sample)
        assert float(trainer.callback_metrics[name]) == pytest.approx(watch.history[-1][name])
    assert watch.history[-1][names[0]] > 1e-2
    assert watch.history[-1][names[1]] <= 1e-12  # the mirror keeps the first coordinate
    with open(next(tmp_path.rglob("metrics.csv"))) as stream:
        lines = [line for line in csv.DictReader(stream) if line[names[0]]]
    assert [float(line[names[0]]) for line in lines] == pytest.approx([line[names[0]] for line in watch.history])


def test_training_is_what_it_is_without_the_callback(sample):
    plain, _ = trained()
    watched, _ = trained(EquivarianceCallback(TURNS, sample))
    assert plain.seen == watched.seen  # the random numbers drawn in every step, and every module's mode
    for (name, a), b in zip(plain.state_dict().items(), watched.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert all(p.requires_grad and p.dtype == torch.float32 for p in watched.parameters())
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize("precision", ["bf16-mixed", "64-true"])
def test_precision_of_the_training_does_not_matter(sample, precision):
    watch = EquivarianceCallback(None, sample, model="net")  # the contracts of that part
    module, _ = trained(watch, epochs=1, precision=precision)
    assert watch.history[0]["equivariance_error"] <= 1e-12
    assert watch.history[1]["equivariance_error"] == equivariance_error(module.net, TURNS, sample)


def test_early_stopping_may_go_by_it(sample):
    watch = EquivarianceCallback(TURNS, sample, name="turned")
    stop = pl.callbacks.EarlyStopping("turned", patience=0, check_on_train_epoch_end=True)
    assert trained(watch, stop, epochs=9)[1].current_epoch < 9


def test_misuse_is_said(sample):
    with pytest.raises(InputError, match="no contract"):
        EquivarianceCallback([], sample)
    with pytest.raises(InputError, match="at least 1"):
        EquivarianceCallback(TURNS, sample, every=0)
    with pytest.raises(InputError, match="states no contract"):
        EquivarianceCallback(None, sample).measure(Module())

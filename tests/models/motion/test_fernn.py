"""Forecasts flow on with what was given, exactly on a closed list of velocities; classes do not depend on the motion there."""

import pytest
import torch

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.euclidean import T
from coset.groups.flows import Flow
from coset.groups.torus import Torus
from coset.models.motion.conv3d import SpaceTimeCNN
from coset.models.motion.fernn import FlowClassifier, FlowForecaster
from coset.reps.fields import Field
from coset.reps.frames import Frames
from coset.testing import Broken, check


def test_forecasts_are_equivariant_exactly_on_a_closed_list():
    torch.manual_seed(0)
    report = check(FlowForecaster(hidden=4, size=5, reach=2).double())
    assert {one.claim for one in report.checked} == {"exact"}
    assert max(report.errors.values()) <= 1e-12


def test_on_an_open_list_shifts_are_exact_and_flows_approximate():
    torch.manual_seed(0)
    report = check(FlowForecaster(hidden=4, size=9, reach=1).double())
    by_claim = {one.claim: one.error for one in report.checked}
    assert by_claim["exact"] <= 1e-12 < 1e-3 < by_claim["approximate"] < 1


class Behind(FlowForecaster):
    """A twin that reads the state where it was left, one step behind the flow."""

    def forward(self, frames, ahead=None):
        h = self.cell.start(frames[:, 0])
        for x in frames.unbind(1):
            h = self.cell(x, h)
        return self.decode(h.amax(1)).unsqueeze(1)


def test_a_forecast_that_is_not_carried_along_is_caught():
    torch.manual_seed(0)
    with pytest.raises(Broken, match="Flow"):
        check(Behind(hidden=4, size=5, reach=2, ahead=1).double())


@pytest.mark.parametrize("motion", ["shift", "learned"])
def test_classes_do_not_depend_on_where_the_sequence_stands(motion):
    torch.manual_seed(0)
    assert (
        max(
            check(FlowClassifier(hidden=4, size=9, reach=0 if motion == "shift" else 1, motion=motion).double()).errors.values()
        )
        <= 1e-12
    )


def test_classes_do_not_depend_on_the_motion_where_the_list_is_closed():
    torch.manual_seed(0)
    model = FlowClassifier(hidden=4, size=5, reach=2).double()
    frames = torch.randn(3, 6, 1, 5, 5, dtype=torch.float64)
    contract = Contract(Flow(T(2), 2), {"frames": Field(("B",), Frames())}, "B x classes x scalar")
    assert max(contract.error(model, {"frames": frames}, g) for g in Flow(T(2), 2).grid()) <= 1e-5


def test_space_time_convolutions_know_shifts_and_no_flows():
    torch.manual_seed(0)
    model = SpaceTimeCNN(hidden=4, size=8).double()
    assert {contract.group for contract in model.contracts} == {Torus(8, 8)}
    check(model)
    flows = Contract(Flow(T(2)), {"frames": Field(("B",), Frames())}, "B x classes x scalar")
    frames = torch.randn(2, 5, 1, 8, 8, dtype=torch.float64)
    assert flows.error(model, {"frames": frames}, torch.tensor([1, 1])) > 1e-3


def test_turning_forecasts_keep_quarter_turns():
    torch.manual_seed(0)
    report = check(FlowForecaster(hidden=2, size=7, motion="turn").double())
    assert min(report.errors.values()) <= 1e-12


def test_the_rollout_feeds_back_what_it_predicted():
    torch.manual_seed(0)
    model = FlowForecaster(hidden=3, size=9, ahead=2)
    frames = torch.rand(2, 4, 1, 9, 9)
    first = model(frames, ahead=1)
    second = model(torch.cat([frames, first], 1), ahead=1)
    assert torch.allclose(model(frames), torch.cat([first, second], 1), atol=1e-6)


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="motion"):
        FlowForecaster(motion="zoom")
    with pytest.raises(InputError, match="motion"):
        FlowClassifier(motion="turn")
    with pytest.raises(InputError, match="ahead"):
        FlowForecaster(ahead=0)
    with pytest.raises(InputError, match="built for 16"):
        FlowForecaster()(torch.rand(1, 4, 1, 12, 12))
    with pytest.raises(InputError, match="T >= 2"):
        FlowForecaster()(torch.rand(1, 1, 1, 16, 16))

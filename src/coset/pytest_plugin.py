"""Equivariance as a test of anyone's own package: a fixture for pytest, there as soon as coset is installed.

    def test_my_layer(assert_equivariant):
        assert_equivariant(MyLayer(), Contract(SO(3), {"pos": "N x vector"}, "N x scalar"))

``pytest --coset-samples 256 --coset-seed 1 --coset-dtype float32`` says how hard all tests look and what rounding explains, the
marker ``@pytest.mark.equivariance(samples=16)`` what one test is content with, and an argument of the call what one assertion
is. A failure names the worst element, the error of every output there and, where one can be convicted, the cause
(:mod:`coset.audits.causes`). Nothing heavy is imported before a test asks for the fixture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from coset.contract import Contract
    from coset.testing import Broken, Checked

DEFAULTS: Mapping[str, Any] = {"samples": 64, "seed": 0, "dtype": "float64"}
SAYS = {
    "samples": "group elements that assert_equivariant visits beside identity and generators (default 64)",
    "seed": "seed of these elements (default 0)",
    "dtype": "what models compute in: float64 (default), float32, float16 or bfloat16",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--coset-samples``, ``--coset-seed`` and ``--coset-dtype``."""
    group = parser.getgroup("coset", "equivariance (coset)")
    for name, default in DEFAULTS.items():
        group.addoption(f"--coset-{name}", type=type(default), default=default, metavar=name.upper(), help=SAYS[name])


def pytest_configure(config: pytest.Config) -> None:
    """The marker ``equivariance``."""
    config.addinivalue_line(
        "markers", "equivariance(samples=64, seed=0, dtype='float64'): how hard assert_equivariant looks in this test"
    )


@pytest.fixture
def assert_equivariant(request: pytest.FixtureRequest) -> Callable[..., Checked]:
    """``assert_equivariant(f, contract=None, x=None, samples=, seed=, dtype=)``: what was found, or a failure that says why.

    ``contract`` is one, or those that ``f`` carries if None; ``x`` a sample of its inputs, random if None.
    """
    settings = {name: request.config.getoption(f"coset_{name}") for name in DEFAULTS}
    for marker in reversed(list(request.node.iter_markers("equivariance"))):  # the nearest one last
        if marker.args or set(marker.kwargs) - set(DEFAULTS):
            raise pytest.UsageError(
                f"marker equivariance takes {', '.join(DEFAULTS)} by name, got {marker.args or marker.kwargs}"
            )
        settings |= marker.kwargs

    def assert_equivariant(f: Callable[..., Any], contract: Contract | None = None, x: Any = None, **how: Any) -> Checked:
        __tracebackhide__ = True
        from coset.contract import contracts_of
        from coset.testing import Broken
        from coset.testing import assert_equivariant as one

        chosen = {**settings, **how}
        try:
            found = [one(f, each, x, **chosen) for each in ((contract,) if contract is not None else contracts_of(f))]
        except Broken as error:
            raise Broken("\n".join([str(error), *_why(error, f, x, **chosen)]), error.error) from None
        return max(found, key=lambda checked: checked.error)

    return assert_equivariant


def _why(broken: Broken, f: Callable[..., Any], x: Any, *, samples: int, seed: int, dtype: str) -> list[str]:
    """Lines about a failure: every output's own error at the worst element, and the cause."""
    from coset.audits.causes import find_causes
    from coset.audits.precision import at_dtype, cast, dtype_of
    from coset.contract import frozen, relative
    from coset.testing import sample_for

    contract = broken.contract
    if contract is None or contract.claim not in ("exact", "approximate") or broken.element is None:
        return []
    kind = dtype_of(dtype)
    sample, model = cast(contract.inputs, sample_for(contract, x, f), kind), at_dtype(f, kind)
    with frozen(model):
        gap, want = contract.compare(model, sample, broken.element)
    lines = [f"  output {name or 'tensor'}: {float(relative(gap[name], want[name])):.2e}" for name in gap]
    for cause in find_causes(f, contract.inputs.unpack(sample), contract, dtype=dtype, tolerance=contract.bound, seed=seed):
        lines += [f"  likely cause: {cause.sentence}", f"  {cause.fix}"]
    return lines

"""Layers one after another, their contracts checked where they meet."""

from __future__ import annotations

from torch import nn

from coset.contract import Contract, contracts_of
from coset.errors import ContractError, InputError


class Sequential(nn.Sequential):
    """``nn.Sequential`` of layers with contracts; a seam that does not fit is a ContractError when it is built.

    The chain promises what every layer promises for one and the same group; ``contracts`` holds the results.

    >>> Sequential(LiftingConv2d(1, 8, group=C(4)), GroupConv2d(8, 8, group=C(4)))  # doctest: +SKIP
    """

    def __init__(self, *layers: nn.Module) -> None:
        if not layers:
            raise InputError("Sequential: give at least one layer")
        super().__init__(*layers)
        self.contracts = self._chain(layers)

    @staticmethod
    def _chain(layers: tuple[nn.Module, ...]) -> tuple[Contract, ...]:
        chains = contracts_of(layers[0])
        for place, layer in enumerate(layers[1:], start=1):
            joined: list[Contract] = []
            errors: list[ContractError] = []
            for before in chains:
                for after in contracts_of(layer):
                    try:
                        joined.append(before.then(after))
                    except ContractError as error:
                        # of several misfits the one under the same group says what is wrong with the fields
                        errors.insert(0 if before.group == after.group else len(errors), error)
            if not joined:
                raise ContractError(
                    f"Sequential: layer {place} ({type(layer).__name__}) does not follow: {errors[0]}"
                ) from errors[0]
            chains = tuple(joined)
        return chains

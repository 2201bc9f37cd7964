"""Writes a mace-torch model with random weights, in an environment that has mace-torch; imports nothing of coset.

    python mace_models.py FILE '{"hidden": "8x0e+8x1o", "elements": [1, 6, 8], ...}'

Keys: see the defaults of :func:`write`; what it does not name goes to the constructor of the model.
"""

import json
import sys
import warnings

import numpy as np
import torch

warnings.filterwarnings("ignore")
torch.serialization.add_safe_globals([slice])  # e3nn 0.4 reads such a table when it is imported


def write(
    path: str, *, kind: str = "ScaleShiftMACE", hidden: str = "8x0e+8x1o", elements: tuple = (1, 6, 8), layers: int = 2,
    correlation: int = 3, lmax: int = 3, r_max: float = 4.0, envelope: int = 5, network: tuple = (16, 16), readout: int = 6,
    first: str = "Residual", rest: str = "Residual", heads: list | None = None, dtype: str = "float64", seed: int = 0,
    widened: bool = False, **more,
) -> None:  # fmt: skip
    from e3nn import o3
    from mace import modules

    torch.manual_seed(seed)
    torch.set_default_dtype(getattr(torch, dtype))
    count = len(heads or [0])
    energies = 10 * np.random.default_rng(seed).normal(size=(count, len(elements)))
    blocks = {name: modules.interaction_classes[f"RealAgnostic{name}InteractionBlock"] for name in {first, rest}}
    if kind == "ScaleShiftMACE":
        scale, shift = [1.3 + i for i in range(count)], [0.2 * i - 0.1 for i in range(count)]
        more |= {"atomic_inter_scale": scale if heads else scale[0], "atomic_inter_shift": shift if heads else shift[0]}
    model = getattr(modules, kind)(
        r_max=r_max, num_bessel=8, num_polynomial_cutoff=envelope, max_ell=lmax, interaction_cls=blocks[rest],
        interaction_cls_first=blocks[first], num_interactions=layers, num_elements=len(elements),
        hidden_irreps=o3.Irreps(hidden), MLP_irreps=o3.Irreps(f"{readout}x0e"),
        atomic_energies=energies if heads else energies[0],
        avg_num_neighbors=7.3, atomic_numbers=list(elements), correlation=correlation, gate=torch.nn.functional.silu,
        radial_MLP=list(network), heads=heads, **more,
    )  # fmt: skip
    with torch.no_grad():
        for name, parameter in model.named_parameters():  # as they come, many-body terms are small: a test would not see them
            if "symmetric_contractions" in name:
                parameter.mul_(10.0)
    torch.save(model.double() if widened else model, path)


if __name__ == "__main__":
    write(sys.argv[1], **json.loads(sys.argv[2]))

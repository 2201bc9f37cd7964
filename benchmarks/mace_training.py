"""Trains mace-torch's ScaleShiftMACE in its own environment for a budget of processor seconds, on its own modules.

    python mace_training.py ORDER.json SETS.npz FIGURES.json

The order holds ``hidden``, ``seconds``, ``batch``, ``lr``, ``schedule`` (``stages``: constant, and the last quarter at lr 1e-3
with energies weighted 1000; ``cosine``: one stage to zero), ``loss`` (``squares`` or ``lengths``) and ``seed``; sets are arrays
``<set>.pos, .z, .energy, .forces`` of molecules of one size and ``isolated`` energies. Literature's recipe otherwise: AMSGrad,
weight decay 5e-7 on mace-torch's own parameter groups, clip 10, EMA 0.99, float32, r_max 5, 8 Bessel functions, l_max 3, two
layers, correlation 3. The clock counts batching and steps. This file imports nothing of coset.
"""

import argparse
import json
import math
import os
import sys
import time
import warnings

import numpy as np
import torch

warnings.filterwarnings("ignore")
torch.serialization.add_safe_globals([slice])
torch.set_num_threads(1)

R_MAX = 5.0
STAGE_TWO = 0.75  #: part of the budget after which the second stage begins
KINDS = ("train", "valid", "300K", "600K")


def loaders(sets: dict, order: dict) -> tuple[dict, list[int]]:
    """Batches of mace-torch by set, and the elements."""
    from mace import data, tools
    from mace.tools.torch_geometric.dataloader import DataLoader

    elements = sorted({int(z) for z in sets["train.z"][0]})
    table = tools.AtomicNumberTable(elements)
    found = {}
    for kind in KINDS:
        samples = []
        for z, pos, energy, forces in zip(*(sets[f"{kind}.{name}"] for name in ("z", "pos", "energy", "forces")), strict=True):
            labels, weights = {"energy": energy, "forces": forces}, {"energy": 1.0, "forces": 1.0}
            one = data.Configuration(atomic_numbers=z, positions=pos, properties=labels, property_weights=weights)
            samples.append(data.AtomicData.from_config(one, z_table=table, cutoff=R_MAX))
        learn = kind == "train"
        found[kind] = DataLoader(samples, batch_size=order["batch"] if learn else 20, shuffle=learn, drop_last=learn)
    return found, elements


def build(sets: dict, order: dict, train, elements: list[int]):
    """Its model, with isolated atoms' energies, and scale and shift by its own statistics."""
    from e3nn import o3
    from mace import modules

    energies = np.array([dict(zip(*sets["isolated"].tolist(), strict=True))[z] for z in elements])
    neighbors = modules.compute_avg_num_neighbors(train)
    mean, root = modules.scaling_classes["rms_forces_scaling"](train, energies)
    block = modules.RealAgnosticResidualInteractionBlock
    return modules.ScaleShiftMACE(
        atomic_inter_scale=root, atomic_inter_shift=mean, r_max=R_MAX, num_bessel=8, num_polynomial_cutoff=5, max_ell=3,
        interaction_cls=block, interaction_cls_first=block, num_interactions=2, num_elements=len(elements),
        hidden_irreps=o3.Irreps(order["hidden"]), MLP_irreps=o3.Irreps("16x0e"), gate=torch.nn.functional.silu,
        atomic_energies=energies, avg_num_neighbors=neighbors, atomic_numbers=elements, correlation=3,
        radial_MLP=[64, 64, 64],
    )  # fmt: skip


def train(order: dict, model, batches) -> tuple[int, float]:
    """Until the budget is spent; EMA weights are left in the model. Steps and seconds."""
    from mace import modules
    from mace.tools.scripts_utils import get_optimizer, get_params_options
    from torch_ema import ExponentialMovingAverage

    settings = {"lr": order["lr"], "weight_decay": 5e-7, "amsgrad": True, "beta": 0.9, "optimizer": "adam", "freeze": None}
    args = argparse.Namespace(**settings, lr_params_factors="{}")
    optimizer = get_optimizer(args, get_params_options(args, model))
    kind = {"squares": modules.WeightedEnergyForcesLoss, "lengths": modules.WeightedEnergyForcesL1L2Loss}[order["loss"]]
    loss = kind(energy_weight=1.0, forces_weight=100.0)
    ema = ExponentialMovingAverage(model.parameters(), decay=0.99)
    began, steps = time.process_time(), 0
    while True:
        for batch in batches:
            progress = (time.process_time() - began) / order["seconds"]
            if progress >= 1:
                ema.copy_to(model.parameters())
                return steps, time.process_time() - began
            if order["schedule"] == "cosine":
                rate = order["lr"] * 0.5 * (1 + math.cos(math.pi * progress))
            else:
                rate = order["lr"] if progress < STAGE_TWO else 1e-3
                loss.energy_weight.fill_(1.0 if progress < STAGE_TWO else 1000.0)
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.zero_grad(set_to_none=True)
            out = model(batch.to_dict(), training=True, compute_force=True)
            loss(batch, out).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            optimizer.step()
            ema.update()
            steps += 1


def judge(model, batches) -> dict:
    """Mean absolute errors: forces in meV/A, energies in meV per molecule; root mean square of forces."""
    gaps, energies = [], []
    for batch in batches:
        out = model(batch.to_dict(), training=False, compute_force=True)
        gaps.append((out["forces"] - batch.forces).detach().flatten())
        energies.append((out["energy"] - batch.energy).detach())
    gap, energy = 1e3 * torch.cat(gaps).double(), 1e3 * torch.cat(energies).double()
    return {"force_mae": gap.abs().mean().item(), "force_rmse": gap.square().mean().sqrt().item(),
            "energy_mae": energy.abs().mean().item()}  # fmt: skip


def main(order_file: str, sets_file: str, figures_file: str) -> None:
    with open(order_file) as file:
        order = json.load(file)
    with np.load(sets_file) as arrays:
        sets = dict(arrays)
    torch.set_default_dtype(torch.float32)
    torch.manual_seed(order["seed"])
    batches, elements = loaders(sets, order)
    model = build(sets, order, batches["train"], elements)
    steps, seconds = train(order, model, batches["train"])
    kinds = ["valid"] if order.get("pilot") else list(KINDS[1:])
    found = {kind: judge(model, batches[kind]) for kind in kinds}
    found |= {"steps": steps, "cpu_seconds": seconds, "parameters": sum(p.numel() for p in model.parameters())}
    with open(f"{figures_file}.part", "w") as file:
        json.dump(found, file)
    os.replace(f"{figures_file}.part", figures_file)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""What a checkpoint holds beside weights, optimizer and loops, so that a training goes on as if it had never stopped.

The place in the epoch, the sums of its curve, the moving average, the best weights, the time used; and what is random: torch's
state within an epoch (each begins with one of its own) and private generators, of every process.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from coset.train.ranks import gathered


def keep(steps: Any) -> dict[str, Any]:
    """The state of :class:`coset.train.steps.Steps` as plain containers; called in all processes."""
    trace, order = steps.trace, steps.order
    inside = order is not None and order.start > 0
    own = {name: g.get_state() for name, g in _generators(steps)}
    random = [get_random(), own] if inside else [None, own]
    return {
        "trace": {"steps": trace.steps, "seconds": trace.seconds, "curve": trace.curve, "losses": trace.losses},
        "best": steps.best,
        "average": steps.average.state() if steps.average is not None else {},
        "place": [] if order is None else [order.epoch, order.start],
        "sums": {name: steps._mean(sums) for name, sums in steps.sums.items()} if inside else {},
        "used": steps.clock.used,
        "random": gathered(random),
    }


def restore(steps: Any, kept: dict[str, Any]) -> None:
    """Put it back; a process that the checkpoint does not know keeps its own random state."""
    for name, value in kept["trace"].items():
        setattr(steps.trace, name, value)
    steps.best, steps.sums, steps.clock.before = kept["best"], kept["sums"], kept["used"]
    if steps.average is not None:
        steps.average.load(kept["average"])
    if steps.order is not None and kept["place"]:
        steps.order.go_on(*kept["place"])
    rank = steps.trainer.global_rank
    if rank < len(kept["random"]):
        steps.random, own = kept["random"][rank]
        for name, generator in _generators(steps):
            if name in own:
                generator.set_state(own[name])


def get_random() -> list[Any]:
    """Torch's random states: of the CPU, of every accelerator."""
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [])]


def set_random(state: list[Any]) -> None:
    """What :func:`get_random` gave."""
    torch.set_rng_state(state[0])
    for device, kept in enumerate(state[1:][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(kept, device)


def _generators(steps: Any) -> Iterator[tuple[str, torch.Generator]]:
    for root, top in (("model", steps.model), ("objective", steps.objective)):
        for path, part in top.named_modules() if isinstance(top, nn.Module) else [("", top)]:
            for name, value in vars(part).items() if hasattr(part, "__dict__") else ():
                if isinstance(value, torch.Generator):
                    yield f"{root}.{path}.{name}", value

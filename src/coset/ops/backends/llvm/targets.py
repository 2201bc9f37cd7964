"""Processors that kernels are written for: the one at hand, or a chosen one of its family.

``COSET_CPU_TARGET=host|avx512|avx2|baseline|arm`` (or the argument ``target`` of whatever compiles) forces the code of another
processor: AVX2 and baseline code (SSE2) run on every newer x86 machine, so they are tested without owning an old one. ``arm``
is AArch64 with NEON; elsewhere than on such a machine its code can be assembled but not run.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from coset.errors import InputError, unknown

ENVIRONMENT = "COSET_CPU_TARGET"


@dataclass(frozen=True)
class Target:
    """A processor: LLVM's names for it, the bits of its vector registers and how many it has."""

    name: str
    triple: str
    cpu: str
    features: str
    bits: int
    registers: int

    def lanes(self, dtype: str) -> int:
        """How many numbers of ``dtype`` ("float32", "float64") one register holds."""
        return self.bits // (32 if dtype == "float32" else 64)

    @property
    def runs_here(self) -> bool:
        """Whether this machine can run its code."""
        host = choose("host")
        same_family = self.triple.split("-")[0] == host.triple.split("-")[0]
        return same_family and self.bits <= host.bits

    def machine(self) -> Any:
        """LLVM's code generator for it."""
        binding = _binding(foreign=self.name != "host")
        try:
            target = binding.Target.from_triple(self.triple)
        except RuntimeError as error:
            raise InputError(f"this llvmlite cannot generate code for {self.name} ({self.triple}): {error}") from error
        return target.create_target_machine(cpu=self.cpu, features=self.features, opt=3, reloc="pic", codemodel="default")


_FORCED = {
    "avx512": Target("avx512", "x86_64-unknown-linux-gnu", "skylake-avx512", "", 512, 32),
    "avx2": Target("avx2", "x86_64-unknown-linux-gnu", "haswell", "", 256, 16),
    "baseline": Target("baseline", "x86_64-unknown-linux-gnu", "x86-64", "", 128, 16),
    "arm": Target("arm", "aarch64-unknown-linux-gnu", "generic", "", 128, 32),
}


def choose(name: str | None = None) -> Target:
    """The target called ``name``; without a name what :data:`ENVIRONMENT` says, else the host. InputError if unknown."""
    name = name or os.environ.get(ENVIRONMENT) or "host"
    if name == "host":
        return _host()
    if name not in _FORCED:
        raise unknown("CPU target", name, ("host", *_FORCED))
    return _FORCED[name]


@lru_cache(maxsize=1)
def _host() -> Target:
    binding = _binding(foreign=False)
    triple, features = binding.get_process_triple(), binding.get_host_cpu_features()
    bits = 512 if features.get("avx512f") else 256 if features.get("avx2") and features.get("fma") else 128
    many = bits == 512 or triple.startswith(("aarch64", "arm64"))
    return Target("host", triple, binding.get_host_cpu_name(), features.flatten(), bits, 32 if many else 16)


@lru_cache(maxsize=2)
def _binding(*, foreign: bool) -> Any:
    """llvmlite with its code generators ready: the native one, or all."""
    import llvmlite.binding as binding

    if foreign:
        binding.initialize_all_targets()
        binding.initialize_all_asmprinters()
    else:
        binding.initialize_native_target()
        binding.initialize_native_asmprinter()
    return binding

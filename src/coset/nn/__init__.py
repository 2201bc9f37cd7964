"""Equivariant layers: modules that own weights and carry contracts."""

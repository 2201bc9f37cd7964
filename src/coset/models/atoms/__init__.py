"""Interatomic potentials and lattice force fields."""

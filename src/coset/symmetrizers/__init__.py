"""Impose a symmetry on any model: averaging, frames, canonicalization, augmentation, regularization."""

"""Generative models: draw samples whose law has the right symmetry; the noise is a named input."""

"""Recipes to weights: the training loop (the only user of Lightning) and checkpoints without pickle."""

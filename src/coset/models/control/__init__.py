"""Policies for bodies made of limbs: what acts, and the critics that judge it."""

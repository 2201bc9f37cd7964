"""Self-supervised systems: what is learned from two views of a thing, without labels."""

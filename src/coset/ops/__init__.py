"""Fast functions on tensors, without weights: circular bases, moments, group convolution, scatter and neighbors."""

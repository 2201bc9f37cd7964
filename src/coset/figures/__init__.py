"""Arrays to pictures: polar plots, heat maps, spheres, Cayley tiles, ladders. Knows no torch."""

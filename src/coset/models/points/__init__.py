"""Systems that take points, particles and solids."""

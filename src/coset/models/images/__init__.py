"""Systems that take images."""

"""Systems that take sequences and moving scenes."""

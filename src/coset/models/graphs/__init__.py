"""Systems that take graphs."""

"""The fuzz campaign: good files, what is done to them, command lines, loaders, kills, and the process that runs a case."""

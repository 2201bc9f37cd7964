"""The comparisons, one file per table of results: a task brings data, contracts, metrics and rows (methods) together."""

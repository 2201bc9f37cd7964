"""Tables of ``benchmarks/products.py``: each is a function that measures and returns a :class:`tables.page.Table`."""

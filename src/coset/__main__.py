"""``python -m coset`` is the ``coset`` command."""

from coset.cli.app import main

main()

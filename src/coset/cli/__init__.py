"""The `coset` command: one file per verb; nothing heavy is imported before the verb is known and its options are read."""

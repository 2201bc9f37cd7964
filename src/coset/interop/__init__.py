"""The outside world: targets named by a string, foreign models and files, what this installation offers."""

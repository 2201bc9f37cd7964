"""What is minimized: objectives are callables `(model, batch) -> {"loss": ..., other terms}`; some own parameters."""

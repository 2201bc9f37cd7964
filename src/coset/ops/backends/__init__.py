"""What executes a plan: the reference (the oracle), plain torch, generated CPU vector code, Triton."""

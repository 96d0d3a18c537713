"""The tick of the lockstep engine as one program of jax, for an accelerator: many small systems, each with its own step."""

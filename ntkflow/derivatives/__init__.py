"""The diffrax path: gradients of metrics, vmapped ensembles, and the same code on an accelerator.

Imported on demand only, since jax takes a second and each compilation some more. For mild problems, rho T up to
1e4; `ntkflow.derivatives.sensitivity` follows stiff ones. Nothing here changes jax's settings: 64-bit arithmetic is on
inside `x64()` only, which every function enters by itself.
"""

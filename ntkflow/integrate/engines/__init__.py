"""Engines: what steps a packed system forward, and which one is chosen."""

"""Polynomials in non-commuting matrices of symbolic size, over exact scalars."""

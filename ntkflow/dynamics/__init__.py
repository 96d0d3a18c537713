"""The vector fields of Theorems 4.1 and 5.1: raw, class-decomposed, by levels, packed for engines; Jacobians."""

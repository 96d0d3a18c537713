"""Numbers of a state: neural collapse, the invariant and its terms, what each rung conserves, balance."""

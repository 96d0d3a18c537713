"""Neural collapse of any features, by every published measure under a name of its own (`nf.metrics.collapse`).

Samples are rows here, as frameworks give them: H (N, n), W (C, n). `ntkflow.metrics.neural_collapse` measures states of
the flow, whose features are columns and whose classes are sorted; names that both have mean the same number.
"""

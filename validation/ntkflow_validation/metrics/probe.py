"""Kernels and invariants of a data set, evaluated where H is known on some samples of each class only."""

import numpy as np

from ntkflow._types import Json
from ntkflow.metrics import invariant
from ntkflow.metrics.invariant import InvariantTerms
from ntkflow.problem.kernels import BlockKernel
from ntkflow.problem.sizes import Sizes
from ntkflow.problem.state import State

# Samples of each class in the paper's batches of 120.
PAPER_BATCH = 12


def probe_kernel(kernel: BlockKernel, s: int, m: float) -> BlockKernel:
    """The kernel under which s samples of each class move as all m do under `kernel`.

    The class means and W obey dH1/dt = -W^T R1 Kc, dW/dt = -m (R1 H1^T + W H2 H2^T) with
    Kc = mu_class I + kappa_n m 11^T, and deviations shrink at the rate mu_single W^T W. In the time (m/s) t
    these are the equations of s samples with the kernel (s/m) mu_single on top of the same kappa_c and
    kappa_n: its mu_class, mu_single and kappa_n s are s/m times the original ones (not in the paper).
    """
    if s == m:
        return kernel
    mu_single = (kernel.kappa_d - kernel.kappa_c) * s / m
    return BlockKernel(kernel.kappa_c + mu_single, kernel.kappa_c, kernel.kappa_n)


def invariant_terms(state: State, sizes: Sizes, kernel: BlockKernel, m: float) -> InvariantTerms:
    """Terms of E with the data set's m and N, from a state that holds s of its m samples of each class.

    E of the s samples under `probe_kernel` is m/s times E of the data set with its class means and
    within-class covariance replaced by those of the samples. Source: eq. (26).

    Args:
        state: H on s samples of each class, W, b.
        sizes: sizes of that state.
        kernel: block kernel of the data set.
        m: samples of each class in the data set; of classes that differ in size their mean, and all are observed.
    """
    if not sizes.balanced:
        return invariant.terms(state, sizes, kernel)
    s = sizes.per_class
    terms = invariant.terms(state, sizes, probe_kernel(kernel, s, m))
    share = s / m
    return InvariantTerms(
        share * terms.weights, share * terms.means, share * terms.global_mean, share * terms.within
    )


def batch_terms(state: State, sizes: Sizes, kernel: BlockKernel, batch: int) -> InvariantTerms:
    """What the paper computes: E with the m, N and H of a batch in place of the data set's.

    It is not conserved by training on all data (theory 11.5); it is here to be compared with the paper.

    Args:
        state: H on the probe, W, b.
        sizes: sizes of that state.
        kernel: block kernel measured there.
        batch: samples of each class; of classes that differ in size on the mean, each in its proportion.
    """
    counts = [sizes.C * batch * m // sizes.N for m in sizes.counts]
    rows = np.concatenate([start + np.arange(k) for start, k in zip(sizes.starts, counts, strict=True)])
    small, small_sizes, _ = State.from_samples(state.H[:, rows], state.W, state.b, sizes.labels[rows])
    return invariant.terms(small, small_sizes, kernel)


def honest_units(terms: InvariantTerms, kernel: BlockKernel, m: float) -> Json:
    """How large E is: |E| over its start is the growth of the weights in disguise, and says nothing.

    Args:
        terms: of E.
        kernel: block kernel of the data set.
        m: samples of each class in the data set.

    Returns:
        `invariant_dimensionless`, |e^| = sqrt(m mu_class) |E|, 1 where E is as large as the features and weights of a
        collapsed network; `invariant_over_weights`, |E|/|W^T W/m|; `invariant_negative`, n_-(E), more than C of which rule
        NC1 out (theory 3.5).
    """
    mu_class = kernel.kappa_d - kernel.kappa_c + m * (kernel.kappa_c - kernel.kappa_n)
    size, weights = float(np.linalg.norm(terms.E)), float(np.linalg.norm(terms.weights))
    values = np.linalg.eigvalsh((terms.E + terms.E.T) / 2)
    # H comes from float32 networks.
    negative = int(np.sum(values < -1e-6 * max(float(np.abs(values).max()), np.finfo(float).tiny)))
    return {
        "invariant_dimensionless": float(np.sqrt(m * max(mu_class, 0.0)) * size),
        "invariant_over_weights": size / weights if weights > 0 else float("nan"),
        "invariant_negative": negative,
    }


def batch_refused(metrics: Json) -> str | None:
    """Why these have an E and none of a batch, in words; None where they have both, or neither."""
    alone = "invariant_norm" in metrics and "invariant_batch_norm" not in metrics
    return "classes differ in size, and no batches with known shares of them are drawn" if alone else None


def invariant_metrics(
    state: State, sizes: Sizes, kernel: BlockKernel, m: float, batch_per_class: int
) -> Json:
    """Norms and alignment for metrics.jsonl: of the data set, and under `invariant_batch_` of a batch.

    Args:
        state: H on the probe, W, b.
        sizes: sizes of that state.
        kernel: block kernel measured there.
        m: samples of each class in the data set; as in `invariant_terms`.
        batch_per_class: samples of each class in a training batch; 0 = full batch, then the paper's 12 or fewer, which
            classes that differ in size do not have (`batch_refused`).
    """
    terms = invariant_terms(state, sizes, kernel, m)
    parts = {name: getattr(terms, name) for name in ("weights", "means", "global_mean", "within")}
    found = {
        "invariant_norm": float(np.linalg.norm(terms.E)),
        "invariant_alignment": terms.alignment,
        **honest_units(terms, kernel, m),
        **{f"invariant_{name}_norm": float(np.linalg.norm(part)) for name, part in parts.items()},
    }
    if not batch_per_class and not sizes.balanced:
        return found
    batch = min(batch_per_class or PAPER_BATCH, sizes.N // sizes.C)
    of_batch = batch_terms(state, sizes, kernel, batch)
    return found | {
        "invariant_batch_per_class": batch,
        "invariant_batch_norm": float(np.linalg.norm(of_batch.E)),
        "invariant_batch_alignment": of_batch.alignment,
    }

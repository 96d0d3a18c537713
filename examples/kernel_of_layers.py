"""Depth replaces block structure, and the kernel of the features is what their layers make of it.

Inputs whose kernel has no blocks: classes that differ in how much they resemble each other. One linear layer ends with
class means that keep the square root of that inequality; every further layer takes away a fixed share of it, and in the
last of L layers 1/(L+1) of ln cond is left (left pane: dots are runs, lines the closed form). Right pane: constants of the
features' kernel along a run on block inputs. They move while the labels are fitted, kappa_n of the mean kernel
ends below zero, and only constants weighted by W end where the rates of collapse need them (dotted).

Run: python examples/kernel_of_layers.py --out pictures
"""

from pathlib import Path

import numpy as np
from _pictures import BLUE, GREEN, ORANGE, PURPLE, label, panes, run, save

import ntkflow as nf
from ntkflow.metrics.neural_collapse import centring
from ntkflow.problem.layers import initial
from ntkflow.theory.layers.limits import balanced_limit, collapsed_kernel

COLOURS = {1: PURPLE, 2: BLUE, 3: ORANGE, 4: GREEN}


def main(
    out: Path = Path(), C: int = 4, m: int = 3, depths: int = 4, t_end: float = 400.0
) -> dict[str, float]:
    figure, (left, right) = panes(1, 2, "Linear layers: depth and the kernel", width=4.8)
    kernel = _unequal(C)
    wide = nf.Sizes(C, m, C)
    inputs = _spread(_contrasts(np.asarray(kernel.solve(wide.Y, wide)) @ wide.Y.T))
    worst = 0.0
    for L in range(1, depths + 1):
        sizes = nf.Sizes(C, m, C)
        found, b = _ends(sizes, kernel, L, t_end)
        # The biases end beside 1/C where the kernel has no blocks.
        limit = balanced_limit(sizes, kernel, L, b)
        law = [_spread(_contrasts(G)) for G in limit.G]
        # The inputs themselves are layer 0.
        left.plot([l / L for l in range(L + 1)], [inputs, *law], "-", color=COLOURS[L], label=f"L = {L}")
        left.plot([l / L for l in range(1, L + 1)], found, "o", color=COLOURS[L], markersize=5)
        worst = max(worst, float(np.abs(np.array(found) - law).max()))
    label(left, "Inputs without blocks", "layer l / L", "ln cond of the class means' Gram matrix", fontsize=8)

    sizes, blocks = nf.Sizes(C, m, 2 * C), nf.BlockKernel(1.0, 0.5, 0.1)
    state = initial.make("balanced-contrast", sizes, (2 * C, 2 * C), blocks, 0, 0.3)
    solution = nf.solve_layers(nf.LayeredProblem(sizes, blocks, state), rtol=1e-8)
    t, series = solution.times[1:], solution.series
    names = (("kappa_d", BLUE), ("kappa_c", ORANGE), ("kappa_n", GREEN))
    weighted = collapsed_kernel(sizes, blocks, (2 * C, 2 * C), weighted=True)
    for (name, colour), end in zip(names, weighted.kappas, strict=True):
        letter = rf"$\kappa_{name[-1]}$"
        right.semilogx(t, series[name][1:], "-", color=colour, label=letter)
        right.semilogx(t, series[f"{name}_W"][1:], "--", color=colour, label=f"{letter}, weighted by W")
        right.axhline(end, color=colour, linestyle=":", linewidth=1)
    label(right, "The kernel of two layers along a run", "flow time t", "block constants", fontsize=7.5)
    save(figure, out, "kernel_of_layers")
    off = max(
        abs(float(series[f"{name}_W"][-1]) - end)
        for (name, _), end in zip(names, weighted.kappas, strict=True)
    )
    print(
        f"Class means end as unequal as the closed form says, to {worst:.1g} of ln cond.\n"
        f"kappa_n of the mean kernel ends at {series['kappa_n'][-1]:.3g}; those weighted by W end as foretold, to {off:.1g}."
    )
    return {
        "inputs": inputs,
        "law": worst,
        "kappa_n": float(series["kappa_n"][-1]),
        "weighted": off,
    }


def _unequal(C: int) -> nf.ClassBlockKernel:
    """Blocks of classes that differ: a chain in which neighbours are alike."""
    distance = np.abs(np.subtract.outer(np.arange(C), np.arange(C)))
    B = 0.6 * 0.5**distance
    return nf.ClassBlockKernel([1.0] * C, B)


def _contrasts(G: np.ndarray) -> np.ndarray:
    """Eigenvalues on class contrasts, rising."""
    P = centring(len(G))
    return np.linalg.eigvalsh(P @ G @ P)[1:]


def _spread(values: np.ndarray) -> float:
    return float(np.log(values[-1] / values[0]))


def _ends(
    sizes: nf.Sizes, kernel: nf.ClassBlockKernel, L: int, t_end: float
) -> tuple[list[float], np.ndarray]:
    """ln cond by layer, and b, at the end of a run from balanced layers: the root of the start's Om in every layer."""
    Y, C = sizes.Y / sizes.m, sizes.C
    K = kernel.matrix(sizes)
    values, vectors = np.linalg.eigh(K)
    root, inverse = (vectors * np.sqrt(values)) @ vectors.T, (vectors / np.sqrt(values)) @ vectors.T
    P = centring(C)
    # Om = U s Vt on centred labels, and every layer s^{1/(L+1)} between frames of its own.
    U, s, Vt = np.linalg.svd(0.3 * P @ Y @ inverse, full_matrices=False)
    U, Vt, s = U[:, : C - 1], Vt[: C - 1], s[: C - 1] ** (1 / (L + 1))
    eye = np.eye(C)[:, : C - 1]
    layers = tuple((eye * s) @ eye.T for _ in range(L - 1))
    state = nf.LayeredState((eye * s) @ Vt @ root, layers, (U * s) @ eye.T, np.full(C, 1 / C))
    end = nf.solve_layers(nf.LayeredProblem(sizes, kernel, state), save_at=[0.0, t_end], rtol=1e-8).final
    return [_spread(_contrasts(H1.T @ H1)) for H1 in (H @ Y.T for H in end.layers)], end.b


if __name__ == "__main__":
    run(main, __doc__)

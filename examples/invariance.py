"""The invariant E: constant for every loss.

Theorem 5.1 finds a matrix E, made of W^T W, the class means and the within-class part (eq. 26), that gradient
flow cannot change. The proof never looks at the residual, so squared error, cross-entropy and a loss that you
make up all conserve it; only the kernel must stand still. What the integrator adds is rounding and its
tolerance. The simpler matrix of eq. (27), often used for free features, is not conserved: it needs a
class-mean residual of zero, and moves as long as class means move. The integrator here is a plain Runge-Kutta
method on the raw system (19), which knows nothing of E.

Run: python examples/invariance.py --out pictures
"""

from pathlib import Path

import numpy as np
from _pictures import BLUE, GREEN, GREY, ORANGE, label, panes, run, save

import ntkflow as nf
from ntkflow.problem.losses import LossPair, loss_named


def log_cosh() -> LossPair:
    """A loss of our own: quadratic near the target, linear far from it."""
    return LossPair(lambda F, Y: np.log(np.cosh(F - Y)).sum(), lambda F, Y: np.tanh(F - Y), "log-cosh (ours)")


def motion_of_27(solution: nf.Solution) -> np.ndarray:
    """The farthest that eq. (27) has moved from its start so far, relative to the norms of its two terms."""
    sizes, kernel = solution.problem.sizes, solution.problem.kernel
    start = nf.metrics.end_of_training(solution.state(0), sizes, kernel)
    moved = []
    for i in range(len(solution)):
        state = solution.state(i)
        now = nf.metrics.end_of_training(state, sizes, kernel)
        weights = state.W.T @ state.W
        scale = np.linalg.norm(weights) + np.linalg.norm(weights - now)
        moved.append(float(np.linalg.norm(now - start) / scale))
    return np.maximum.accumulate(moved)


def main(
    out: Path = Path(), C: int = 3, m: int = 8, n: int = 7, t_end: float = 100.0, rtol: float = 1e-9
) -> dict[str, float]:
    sizes, kernel = nf.Sizes(C, m, n), nf.BlockKernel(1.0, 0.5, 0.1)
    state = nf.initial.make("gaussian", sizes, seed=1, scale=0.5)
    figure, (axes,) = panes(1, 1, "E does not move, whatever the loss", width=7.0)
    numbers = {"rtol": rtol}
    losses = (loss_named("mse"), loss_named("cross-entropy"), log_cosh())
    for loss, colour in zip(losses, (BLUE, ORANGE, GREEN), strict=True):
        problem = nf.Problem(sizes, kernel, state, loss=loss)
        solution = nf.solve(
            problem,
            t_end=t_end,
            stop=nf.Stop(None, stationarity=None),
            rtol=rtol,
            engine="DOP853",
            form="raw",
        )
        t, drift, moved = (
            solution.times[1:],
            np.maximum.accumulate(solution.series["E_drift"]),
            motion_of_27(solution),
        )
        axes.loglog(t, np.maximum(drift[1:], 1e-17), "-", color=colour, label=f"E of (26), {loss.name}")
        axes.loglog(t, moved[1:], "--", color=colour, label=f"eq. (27), {loss.name}")
        numbers[f"drift {loss.name}"] = float(drift.max())
        numbers[f"motion of (27) {loss.name}"] = float(moved.max())
        print(
            f"{loss.name}: E drifts by at most {drift.max():.1e} of its terms, eq. (27) by {moved.max():.2f}."
        )
    axes.axhline(rtol, color=GREY, linestyle=":", label="tolerance asked for")
    axes.set_ylim(1e-17, 1e6)
    label(
        axes,
        f"C = {C}, m = {m}, n = {n}",
        "flow time t",
        "largest change so far / norms of the terms",
        ncols=2,
        loc="upper left",
    )
    save(figure, out, "invariance")
    return numbers


if __name__ == "__main__":
    run(main, __doc__)

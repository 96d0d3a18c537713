"""Heads without a bias, or with one that is held: db/dt = 0, targets Y - b 1^T (theory 11.8; not in the paper).

E does not contain b, so its laws stay. At zero loss A = I - b 1^T is known from the start, and with E = 0 so is the limit:
for b = 0, scalar blocks and balanced classes X = sqrt(m) (P/sqrt(mu_class) + J/sqrt(mu_global)). Centred class means are
the simplex ETF, as with a bias; W keeps a part along 1, and is an orthogonal frame for mu_global = mu_class alone.
"""

from dataclasses import replace

from ntkflow.problem.problem import Problem
from ntkflow.theory import bounds, limits
from ntkflow.theory.conditions import IF_FITTED, Condition
from ntkflow.theory.initial_facts import needed_dimensions, reach
from ntkflow.theory.limit_point import Limit

# A metric of the limit below this is zero to the accuracy of its roots.
ZERO = 1e-7


def held_limit(problem: Problem) -> Limit | None:
    """The limit of held biases where E = 0 at the start, for any constant kernel on samples; None elsewhere."""
    sizes, kernel, b = problem.sizes, problem.kernel, problem.state.b
    if problem.train_bias or not problem.undisturbed or not kernel.on_samples:
        return None
    signs = bounds.inertia_of_E(sizes, kernel, problem.state)
    if signs.positive or signs.negative or reach(problem) < needed_dimensions(problem):
        return None
    hypotheses = "E = 0 at the start, the biases are held, and the loss tends to 0"
    return replace(limits.general_kernel(sizes, kernel, b), hypotheses=hypotheses)


def held_conditions(limit: Limit) -> dict[str, Condition]:
    """The answers for NC2-NC4 where the limit is known."""
    known = "E = 0 and the biases are held, which gives the limit"
    numbers = {"NC2": limit.NC2, "NC3": limit.NC3}
    verdicts = {name: "yes" if value <= ZERO else "no" for name, value in numbers.items()}
    ends = {name: 0.0 if verdicts[name] == "yes" else value for name, value in numbers.items()}
    answers = {
        name: Condition(verdicts[name], f"{known}: it ends at {value:.4g}, {IF_FITTED}", {name: value})
        for name, value in ends.items()
    }
    why = "features equal within a class and exact outputs make both rules right on the training data"
    return {**answers, "NC4": Condition("yes", f"{why}, {IF_FITTED}")}

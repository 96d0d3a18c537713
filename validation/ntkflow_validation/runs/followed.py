"""laws.json: the conservation laws of a training, its imbalance Q, and the variability that the classifier does not see.

What does not exist, such as NC1 where class means coincide, is None.
"""

from dataclasses import dataclass, field

from ntkflow.runs.border.records import SPARSE, read_record
from ntkflow_validation.runs.rundir import REPEAT, RunDirectory

FILE = "laws.json"
Numbers = tuple[float | None, ...]
# Of the series that a run has of them.
LAW_MEANINGS = {
    "laws_q": "root mean square over the conservation laws of q",
    "laws_law": "the same of what decay and steps make of q",
    "laws_error": "root mean square over the laws of |q - its law| over sum |d_g| |theta_g|^2",
    "laws_moved": "the same against q at the start",
    "Q_norm": "|Q|, Q = W^T W - V V^T - c c^T of the linear readout",
    "Q_law": "|Q| by its law",
    "Q_error": "|Q - its law| over |Q(0)|",
    "Q_over_weights": "|Q| over |W^T W|",
}


@dataclass(frozen=True)
class Family:
    """Laws that tie the same tensors: a layer's neurons, a residual stream's channels, a readout.

    Attributes:
        name: kind, and tensors.
        count: of laws.
        balance: sum of their q at every snapshot: the balance of two layers.
        expected: what that should be by the best law there is, see `RunLaws.how`.
        error: at the end, |q - expected| over sum |d_g| |theta_g|^2, root mean square over the laws.
        error_if_constant: the same against q of the start: what there is to be explained.
        error_of_flow: the same against the flow with decay on the optimiser's clock, leading order in the step.
        neglected: what the flow leaves out of the law of the steps, in the same units; None where that is not known.
        interpolated: about what interpolation between snapshots leaves of the law of the steps.
    """

    name: str
    count: int
    balance: Numbers
    expected: Numbers
    error: float
    error_if_constant: float
    error_of_flow: float | None = None
    neglected: float | None = None
    interpolated: float | None = None


@dataclass(frozen=True)
class Imbalance:
    """Q = W^T W - V V^T - c c^T of a linear readout, and the invisible variability that it foretells.

    Attributes:
        norm: |Q| at every snapshot.
        over_weights: |Q|/|W^T W|.
        error: |Q - its law| / |Q(0)|, the law of the steps where there is one.
        error_of_flow: the same against the flow with decay.
        law: |Q| by its law.
        estimate, bound: of the invisible variability, from Q as it is.
        foretold: the estimate from Q(0) by its law, with activations and row space as they are.
    """

    norm: Numbers
    over_weights: Numbers
    error: Numbers
    estimate: Numbers
    bound: Numbers
    foretold: Numbers
    error_of_flow: Numbers = ()
    law: Numbers = ()


@dataclass(frozen=True)
class Together:
    """All laws of a training at every snapshot; roots of mean squares over the laws.

    Attributes:
        q, law: q, and what it should be.
        error, error_of_flow, error_if_constant: |q - law| over sum |d_g| |theta_g|^2; by the best law there is, by the flow
            with decay, and against the start.
    """

    q: Numbers
    law: Numbers
    error: Numbers
    error_of_flow: Numbers
    error_if_constant: Numbers


@dataclass(frozen=True)
class Floor:
    """Where NC1_tirer stops under decay, from the kernel measured at a step (theory 16.5), beside what it is there."""

    step: int
    foretold: float
    observed: float | None


@dataclass(frozen=True)
class RunLaws:
    """laws.json.

    Attributes:
        version: of ntkflow.
        how: what the laws are compared with, in words.
        certified: whether no law is missing.
        steps, times: of the snapshots.
        decay: int lambda dt from the start.
        visible, invisible: tr S in the row space of W and off it.
        NC1, NC1_visible: NC1_tirer, and within the row space of W.
        families: of laws.
        together: all of them along the training; None without laws.
        imbalance: of a linear readout; None without one.
        no_imbalance: why.
        floors: of features that are homogeneous, under decay; one for each measured N x N kernel.
        sentence: why it collapsed, or what it did not forget.
    """

    version: str
    how: str
    certified: bool
    steps: tuple[int, ...]
    times: Numbers
    decay: Numbers
    visible: Numbers
    invisible: Numbers
    NC1: Numbers
    NC1_visible: Numbers
    families: tuple[Family, ...]
    sentence: str
    imbalance: Imbalance | None = None
    no_imbalance: str | None = field(default=None, metadata=SPARSE)
    floors: tuple[Floor, ...] = ()
    together: Together | None = field(default=None, metadata=SPARSE)

    @property
    def series(self) -> dict[str, Numbers]:
        """What figures draw along the training, by name, one value a snapshot."""
        found: dict[str, Numbers] = {}
        if self.together is not None:
            found |= {
                "laws_q": self.together.q, "laws_law": self.together.law, "laws_error": self.together.error,
                "laws_moved": self.together.error_if_constant,
            }  # fmt: skip
        if self.imbalance is not None:
            found |= {
                "Q_norm": self.imbalance.norm, "Q_law": self.imbalance.law, "Q_error": self.imbalance.error,
                "Q_over_weights": self.imbalance.over_weights,
            }  # fmt: skip
        # A file of before has fewer of them.
        return {name: values for name, values in found.items() if len(values) == len(self.steps)}


def read_laws(run: RunDirectory) -> RunLaws | None:
    """Those of a run; None before `ntkflow validate laws`.

    Raises:
        InputError: the file is damaged.
    """
    path = run.path / FILE
    return read_record(path, "run", "the laws of a run", RunLaws, REPEAT) if path.exists() else None


def law_rows(run: RunDirectory) -> dict[int, dict[str, float]]:
    """The series of the laws by step, NaN where one has no value; none before `ntkflow validate laws`."""
    found = read_laws(run)
    if found is None:
        return {}
    known = {
        name: [float("nan") if value is None else value for value in values]
        for name, values in found.series.items()
    }
    return {step: {name: values[i] for name, values in known.items()} for i, step in enumerate(found.steps)}

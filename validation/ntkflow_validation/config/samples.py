"""Which samples a run trains on: a data set by name or a file of one's own, and how many of each class."""

from dataclasses import dataclass
from pathlib import Path

from ntkflow import views
from ntkflow.checks import choice, whole
from ntkflow.errors import InputError
from ntkflow.problem.kernels import BlockKernel
from ntkflow.problem.sizes import repeated
from ntkflow_validation.config.values import number, typed_fields, whole_numbers
from ntkflow_validation.own import data as own

DATASETS = ("digits", "mnist", "fashion-mnist", "cifar10", "block")
SCALINGS = ("fixed", "image")
OWN_REMEDY = "choose one of these, or give the path of an .npz with X and y"


def _counts(value: object) -> tuple[int, ...]:
    """Sizes of classes as a tuple; files give lists."""
    sizes = value if isinstance(value, list | tuple) else (value,)
    return tuple(whole("data.class_sizes", size, 2) for size in sizes)


@dataclass(frozen=True)
class DataConfig:
    """Which samples: `per_class` of each of `classes` classes, or `class_sizes` of them.

    Args:
        name: entry of `DATASETS`; "block" are synthetic inputs with an exactly block structured Gram matrix. Or the path
            of an .npz of one's own, with X, y and perhaps X_test, y_test, see `ntkflow_validation.own.data`.
        classes: C, the first C classes of the data set; 0 = all that a file of one's own holds.
        per_class: m, training samples of each class; 0 = as many as a file of one's own holds, or as `class_sizes` says.
        class_sizes: m_1 .. m_C where they differ, in place of `per_class`.
        test_per_class: test samples of each class, at most; 0 = all. Without an official test set
            (digits) they come from the samples that are not trained on.
        probe_per_class: samples of each class on which H is observed in snapshots, the first ones; 0 = all m.
        scaling: "fixed", the paper's pixel / 255 (digits: two fixed numbers; floats of one's own: as they are), or
            "image", every image to zero mean and unit variance.
        kappa_d, kappa_c, kappa_n: Gram matrix of the "block" inputs; not used by other datasets.
        noise: length of the Gaussian noise added to each "block" input, which takes the Gram matrix off blocks.
        sha256: of the file of one's own, found when the configuration is made; another file is refused later.
    """

    name: str = "digits"
    classes: int = 10
    per_class: int = 20
    test_per_class: int = 0
    probe_per_class: int = 0
    scaling: str = "fixed"
    kappa_d: float = 1.0
    kappa_c: float = 0.5
    kappa_n: float = 0.1
    noise: float = 0.0
    sha256: str = ""
    class_sizes: tuple[int, ...] = ()

    __repr__ = views.changed

    def __post_init__(self) -> None:
        typed_fields(self, "data.")
        object.__setattr__(self, "class_sizes", _counts(self.class_sizes))
        if self.is_own:
            self._resolve()
        else:
            choice("data.name", self.name, DATASETS, OWN_REMEDY)
            if self.sha256 != "":
                rule = f"is of a file of one's own, and not of {self.name}"
                raise InputError("data.sha256", self.sha256, rule, "drop the setting")
        whole_numbers(self, "data.", {"classes": 2, "test_per_class": 0, "probe_per_class": 0})
        self._check_sizes()
        choice("data.scaling", self.scaling, SCALINGS)
        self._check_gram()
        number("data.noise", self.noise, 0)
        if self.noise and self.name != "block":
            raise InputError("data.noise", self.noise, "is for the block inputs only", "leave it at 0")
        if self.probe_per_class == 1 or self.probe_per_class > min(self.counts):
            raise InputError(
                "data.probe_per_class",
                self.probe_per_class,
                f"must be 0 or from 2 to {self.least}",
                "change one",
            )
        if self.name == "block" and (self.scaling != "fixed" or self.test_per_class):
            raise InputError(
                "data.name", "block", "has no images to scale or to leave out", "drop the setting"
            )

    @property
    def is_own(self) -> bool:
        """Whether the samples are a user's own."""
        return own.is_own(self.name)

    @property
    def counts(self) -> tuple[int, ...]:
        """Training samples of each class, m_1 .. m_C."""
        return self.class_sizes or (self.per_class,) * self.classes

    @property
    def samples(self) -> int:
        """N, the training samples."""
        return sum(self.class_sizes) or self.classes * self.per_class

    @property
    def balanced(self) -> bool:
        """Whether all classes have as many samples."""
        return not self.class_sizes

    @property
    def mean_per_class(self) -> int:
        """m, or N/C rounded down where the classes differ: for lengths of epochs, and for costs."""
        return self.samples // self.classes

    def in_batch(self, per_class: int) -> tuple[int, ...]:
        """Samples of each class in batches of so many of each, on the mean over classes: in the proportion of the classes.

        Only then a batch has in expectation its share of the full gradient, and an epoch ends for all classes at once.

        Raises:
            InputError: these are no whole numbers, or more than there are.
        """
        N, C = self.samples, self.classes
        if per_class > N / C:
            raise InputError(
                "training.batch_per_class", per_class, f"exceeds {self.largest_batch}", "lower it"
            )
        # N/C whole: epochs are counted in samples of a mean class.
        if any(per_class * C * m % N for m in self.counts) or (N % C and not self.balanced):
            possible = self.whole_batches
            raise InputError(
                "training.batch_per_class",
                per_class,
                f"would hold no whole numbers of classes of {repeated(self.counts)} in their proportion",
                f"use {' or '.join(str(b) for b in possible)}, or 0, all samples"
                if possible
                else "use 0, all samples",
            )
        return tuple(per_class * C * m // N for m in self.counts)

    @property
    def whole_batches(self) -> tuple[int, ...]:
        """The least and the largest batch below a full one that holds each class in its proportion, if there is one."""
        N, C = self.samples, self.classes
        if N % C:
            return ()
        found = [b for b in range(1, N // C) if all(b * C * m % N == 0 for m in self.counts)]
        return tuple(dict.fromkeys((found[0], found[-1]))) if found else ()

    @property
    def largest_batch(self) -> str:
        """The samples of a class, on the mean, with the setting that says so."""
        return (
            f"the mean of data.class_sizes, {self.samples / self.classes:g}"
            if self.class_sizes
            else self.least
        )

    @property
    def least(self) -> str:
        """The fewest samples of a class, with the setting that says so."""
        return (
            f"the fewest of data.class_sizes = {min(self.counts)}"
            if self.class_sizes
            else f"data.per_class = {self.per_class}"
        )

    def _check_gram(self) -> None:
        """The block inputs are sums of vectors with these square lengths: an order that kernels elsewhere need not have."""
        kernel = BlockKernel(self.kappa_d, self.kappa_c, self.kappa_n)
        for high, low in (("kappa_c", kernel.kappa_n), ("kappa_n", 0.0)):
            if getattr(kernel, high) < low:
                rule = f"must be >= {'kappa_n = ' if high == 'kappa_c' else ''}{low:g} for the block inputs"
                remedy = "draw inputs with kappa_c >= kappa_n >= 0"
                raise InputError(f"data.{high}", getattr(kernel, high), rule, remedy)

    def _check_sizes(self) -> None:
        """Equal sizes are `per_class`, so that equal data compare equal; others leave it at 0."""
        if not self.class_sizes:
            whole_numbers(self, "data.", {"per_class": 2})
            return
        if len(self.class_sizes) != self.classes:
            rule = f"has {len(self.class_sizes)} sizes for data.classes = {self.classes}"
            raise InputError("data.class_sizes", list(self.class_sizes), rule, "give one for each class")
        if self.name == "block":
            raise InputError(
                "data.class_sizes", list(self.class_sizes), "the block inputs are balanced", "use per_class"
            )
        equal = len(set(self.class_sizes)) == 1
        object.__setattr__(self, "per_class", self.class_sizes[0] if equal else 0)
        object.__setattr__(self, "class_sizes", () if equal else self.class_sizes)

    @property
    def title(self) -> str:
        """The name in figures and tables: of a file, without its folder."""
        return Path(self.name).name if self.is_own else self.name

    def _resolve(self) -> None:
        """Replace "what the file holds" by its value, so that files and tables show the number; no file is read twice."""
        whole_numbers(self, "data.", {"classes": 0, "per_class": 0})
        object.__setattr__(self, "name", own.absolute(self.name))
        if self.sha256 and self.classes and (self.per_class or self.class_sizes):
            return
        found = own.contents(self.name)
        if self.sha256 not in ("", found.sha256):
            own.verify(self.name, self.sha256)
        if self.classes > len(found.counts):
            rule = f"{self.title} has {len(found.counts)} classes"
            raise InputError("data.classes", self.classes, rule, "give at most so many, or 0 for all")
        object.__setattr__(self, "classes", self.classes or len(self.class_sizes) or len(found.counts))
        counts = found.counts[: self.classes]
        if self.per_class == 0 and not self.class_sizes:
            object.__setattr__(self, "class_sizes", counts)
        object.__setattr__(self, "sha256", found.sha256)

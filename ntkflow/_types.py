"""Array types with their shapes; every axis letter means one thing in the whole project.

``C`` classes, ``m`` samples per class *in the dynamics*, ``N`` samples, ``n`` features,
``r`` columns of the within-class factor, ``T`` saved times, ``k`` any number of rows, ``cells`` of a sweep.
The dynamics are float64 throughout.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float64, Int64, Shaped

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]
    Integers = NDArray[np.int64]
    Truths = NDArray[np.bool_]
else:
    # Shapes are checked of the class itself; what its entries are the names below say.
    Floats = Integers = Truths = np.ndarray

Features = Float64[Floats, "n N"]
Weights = Float64[Floats, "C n"]
Biases = Float64[Floats, " C"]
ClassMeans = Float64[Floats, "n C"]
WithinFactor = Float64[Floats, "n r"]
SampleFrame = Float64[Floats, "N r"]
SampleKernel = Float64[Floats, "N N"]
FeatureMatrix = Float64[Floats, "n n"]
ClassMatrix = Float64[Floats, "C C"]
PerClass = Float64[Floats, " C"]
Targets = Float64[Floats, "C N"]
Labels = Int64[Integers, " N"]
Times = Float64[Floats, " T"]
Vector = Float64[Floats, " D"]
# Numbers or texts of the cells of a sweep, those that are meant, and their numbers.
Column = Shaped[Floats, " cells"]
Chosen = Bool[Truths, " cells"]
Rows = Int64[Integers, " k"]
Json = dict[str, Any]
# A document that is only read: a summary, the tables of a file. What it holds is checked where it is read.
Document = Mapping[str, Any]
# A numpy or a jax array, traced or not, where one text serves both; jax's own types know nothing of numpy's.
Array = Any

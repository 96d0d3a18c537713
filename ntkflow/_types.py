"""Array types with their shapes; every axis letter means one thing in the whole project.

``C`` classes, ``m`` samples per class *in the dynamics*, ``N`` samples, ``n`` features,
``r`` columns of the within-class factor, ``T`` saved times, ``k`` any number of rows.
The dynamics are float64 throughout.
"""

from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

Features = Float64[np.ndarray, "n N"]
Weights = Float64[np.ndarray, "C n"]
Biases = Float64[np.ndarray, " C"]
ClassMeans = Float64[np.ndarray, "n C"]
WithinFactor = Float64[np.ndarray, "n r"]
SampleFrame = Float64[np.ndarray, "N r"]
SampleKernel = Float64[np.ndarray, "N N"]
FeatureMatrix = Float64[np.ndarray, "n n"]
ClassMatrix = Float64[np.ndarray, "C C"]
PerClass = Float64[np.ndarray, " C"]
Targets = Float64[np.ndarray, "C N"]
Labels = Int64[np.ndarray, " N"]
Times = Float64[np.ndarray, " T"]
Vector = Float64[np.ndarray, " D"]
Json = dict[str, Any]

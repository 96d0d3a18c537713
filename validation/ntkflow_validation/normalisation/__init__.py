"""Running statistics of batch normalisation: recomputed on given data, and compared with what the data say."""

from ntkflow_validation.normalisation.lag import Lag, StatisticsWarning, lags
from ntkflow_validation.normalisation.recalibrate import recalibrate

__all__ = ["Lag", "StatisticsWarning", "lags", "recalibrate"]

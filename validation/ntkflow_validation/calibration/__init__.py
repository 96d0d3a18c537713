"""Calibration: does the pipeline find the theory where it holds exactly, and how does it fail as it stops holding?"""

from ntkflow_validation.calibration.document import passed
from ntkflow_validation.calibration.run import calibrate, calibration_of
from ntkflow_validation.calibration.store import current

__all__ = ["calibrate", "calibration_of", "current", "passed"]

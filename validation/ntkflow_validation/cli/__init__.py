"""`ntkflow validate`: each command parses, calls one public function and prints.

The package is what the entry point loads, so its name stays; the application is in `ntkflow_validation.cli.main`.
"""

from ntkflow_validation.cli.main import app

__all__ = ["app"]

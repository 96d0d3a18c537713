"""`python -m ntkflow` is the command `ntkflow`."""

import os
import sys

# `python -m` puts the current folder before everything else; nothing is imported from there but this package itself,
# where that is the source tree.
if sys.path and sys.path[0] == os.getcwd() and not __file__.startswith(f"{sys.path[0]}{os.sep}"):  # noqa: PTH109
    del sys.path[0]

from ntkflow.cli.main import main

main()

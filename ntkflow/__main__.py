"""`python -m ntkflow` is the command `ntkflow`."""

import os
import sys

# `python -m` puts the current folder before everything else; nothing is imported from there but this package itself,
# where that is the source tree.
_unsafe = not sys.flags.safe_path and bool(sys.path) and sys.path[0] == os.getcwd()  # noqa: PTH109
if _unsafe and not __file__.startswith(f"{sys.path[0]}{os.sep}"):
    del sys.path[0]

from ntkflow.cli.main import main  # noqa: E402

main()

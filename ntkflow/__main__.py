"""`python -m ntkflow` is the command `ntkflow`."""

from ntkflow.cli.main import main

main()

"""The command line in this process."""

from ntkflow.cli.main import main


def exit_code(*words: object) -> int | str:
    """Exit code of `ntkflow WORDS`; what it prints goes to capsys."""
    try:
        main([str(word) for word in words])
    except SystemExit as end:
        return end.code or 0
    return 0

"""The ways in which a command can end early, each with a sentence that says what to do."""

# Exit code of the command line after Ctrl-C, as shells have it.
INTERRUPTED = 130


class InputError(ValueError):
    """Bad input: names the argument, the value it had, the rule it broke and the remedy.

    The command line prints it as one line and exits with its code.
    """

    exit_code = 2

    def __init__(self, argument: str, value: object, rule: str, remedy: str) -> None:
        self.argument, self.value, self.rule, self.remedy = argument, value, rule, remedy
        super().__init__(f"{argument} = {value}: {rule}; {remedy}")

    def __reduce__(self) -> tuple[type, tuple[str, object, str, str]]:
        # Exceptions cross process boundaries in sweeps; the default would replay one string.
        return type(self), (self.argument, self.value, self.rule, self.remedy)


class LawWarning(UserWarning):
    """A run that breaks a law which is exact: its numbers deserve no trust."""


class PrecisionWarning(UserWarning):
    """Numbers of a shorter type, as networks give them, that were widened to float64: they have no more digits for it."""


# The dynamics multiply up to four of the state's numbers with each other; beyond this they overflow.
LARGEST = 1e60
# The largest whole number that arrays, seeds and files hold.
MOST = 2**63 - 1


def shown(number: int) -> str:
    """A whole number for a message, which need not hold all of its digits."""
    return str(number) if abs(number) <= MOST else f"a number of {number.bit_length()} bits"


class StoppedError(RuntimeError):
    """Ctrl-C where what is done is kept; the message says how to go on."""

    exit_code = INTERRUPTED


class SolveError(RuntimeError):
    """An integration that could not be finished; the message is the sentence of its result code."""

    exit_code = 1

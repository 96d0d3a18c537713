"""The two kinds of failure a user can meet, each with a sentence that says what to do."""


class InputError(ValueError):
    """Bad input: names the argument, the value it had, the rule it broke and the remedy.

    The command line prints it as one line and exits with code 2.
    """

    def __init__(self, argument: str, value: object, rule: str, remedy: str) -> None:
        self.argument, self.value, self.rule, self.remedy = argument, value, rule, remedy
        super().__init__(f"{argument} = {value}: {rule}; {remedy}")

    def __reduce__(self) -> tuple:
        # Exceptions cross process boundaries in sweeps; the default would replay one string.
        return type(self), (self.argument, self.value, self.rule, self.remedy)


class SolveError(RuntimeError):
    """An integration that could not be finished; the message is the sentence of its result code."""

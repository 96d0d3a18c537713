"""Steppers to be tampered with, for tests of what is said of engines that lie or fail."""


class Wrapped:
    """An engine's stepper to be tampered with: what a protocol asks for stands in the class, where newer Pythons look."""

    def __init__(self, stepper):
        self.stepper = stepper

    def __getattr__(self, name):
        return getattr(self.stepper, name)

    @property
    def t(self):
        return self.stepper.t

    @property
    def y(self):
        return self.stepper.y

    @property
    def status(self):
        return self.stepper.status

    @property
    def nfev(self):
        return self.stepper.nfev

    def step(self):
        return self.stepper.step()

"""A guard with the settings of a test, and an instrument that loses its link."""

from small_campaign import Noted

from gpax_lab.experiment._guard import Guard


def guarded(instrument, **options):
    given = {"lost": (ConnectionError,), "wait_s": 0.0, "idle_s": None, "stop": lambda: False, "note": [].append}
    return Guard(instrument, **given | options)


class Unplugged(Noted):
    """Loses its link at the measurement of that number, before or after it is done, and for some attempts."""

    vmax = None

    def __init__(self, at, attempts, done=False, **options):
        super().__init__(**options)
        self.at, self.attempts, self.done, self.out = at, attempts, done, False
        self.pulses = []
        self.name = "microscope 7"

    def identity(self):
        return self.name

    @property
    def limits(self):
        return {} if self.vmax is None else {"vmax": self.vmax}

    def measure(self, x, token):
        if self.out:
            raise ConnectionError("the cable is out")
        if len(self.tokens) == self.at and self.attempts:
            self.out = True
            if self.done:
                self.pulses.append(token)
            self.asked.append(("measure", token))
            raise ConnectionError("the cable is out")
        if not (self.done and token in self.pulses):
            self.pulses.append(token)
        return super().measure(x, token)

    def make_safe(self):
        if self.out:
            self.attempts -= 1
            if self.attempts > 0:
                raise ConnectionError("the cable is out")
            self.out = False
        super().make_safe()

"""Any answer may turn into anything at any instant: errors of ours, safe where a campaign ends, no act twice."""

import contextlib
import random

import pytest
from gpax_instruments.errors import DoseSpent
from scripted import KINDS, Scripted, eventually

from gpax_lab.core import Axis, InstrumentError

ANSWERS = [
    "nan", "inf", "-1", "0", "1", "x", "", "1,2", "0,nan", "1e400", "9.91E37", "\x01", "a" * 300, '"t"', "BUSY", "IDLE",
    "ENGAGED", "BLANKED", "UNBLANKED", "1e-6,1e-6", "0,1,0,1", "1,10,0.001,100", "10.0,16", "-0.0", "1_0", "0x10",
    b"#14abcd", b"#0", b"#9", b"#3999xxx", b"\xff\xfe", None,
]  # fmt: skip


COMMON = ("SYST:ERR?", "STAT?", "LIM?", "POS?", "*STB?")
OWN = {"pfm": ("LOOP", "BIAS", "TIP"), "writer": ("PULS", "BIAS", "IMAG", "TIP"), "band": ("BAND", "BIAS", "TIP")}
OWN["stem"] = ("SHOT", "DOSE", "BEAM", "EELS", "SCAN:PIX", "DIFF")


class Fickle(Scripted):
    """Spoils an answer, the next one or all of one query, once some answers have been given."""

    def __init__(self, model, kind, dice):
        super().__init__(model)
        words = [word for word in self.answers if word in COMMON or word.startswith(OWN[kind])]
        self.query, self.answer = dice.choice([*words, ""]), dice.choice(ANSWERS)
        self.left, self.strikes = dice.randrange(60), dice.choice([1, 10_000])

    def safe(self):
        return (self.tip, self.beam, self.bias) == ("WITHDRAWN", "BLANKED", 0.0)

    def one(self, word, argument):
        if word.endswith("?") and word not in ("SYST:TAG?", "*IDN?"):
            self.left -= 1
            if self.left < 0 < self.strikes and self.query in ("", word):
                self.strikes -= 1 if self.query else 10_000
                return self.answer
        return super().one(word, argument)


@pytest.mark.parametrize("kind", KINDS)
def test_random_answers(serve, kind):
    dice, fine, stopped = random.Random(f"random answers of {kind}"), 0, 0
    model, driver, options, place = KINDS[kind]
    for _ in range(25):
        microscope = Fickle(model, kind, dice)
        server = serve(microscope)
        device = driver(server.address, **({"timeout_s": 0.1} | options))
        device.busy_timeout_s = 0.1
        if kind == "writer":
            device.image_timeout_s = 0.1
            device.axes = (device.axes[0], Axis("log10 duration", "log10(s)", -3.0, -1.0, tolerance=0.005))
        device.scpi.pause_s = 0.0
        try:
            device.connect()
            for k in range(3):
                fine += device.measure(place, f"t{k}").ok
                assert kind == "band" or len(microscope.acts()) == k + 1
        except InstrumentError as error:
            stopped += 1
            ends = not error.point_failed and not isinstance(error, DoseSpent)
        else:
            ends = False
        device.close()
        assert not ends or eventually(microscope.safe), microscope.sent
        microscope.strikes = 0  # honest again: a campaign that resumes asks for the same tokens
        with driver(server.address, **options) as device:
            for k in range(3):
                with contextlib.suppress(InstrumentError):
                    device.measure(place, f"t{k}")
        names = microscope.names()
        assert kind == "band" or len(names) == len(set(names)), microscope.sent
        assert all(lit.count("UNBL") <= 1 for lit in " ".join(microscope.sent).split("BEAM:BLAN"))
    assert fine > 25
    assert stopped > 2

"""Commands of the Nanonis TCP programming interface that a driver and a twin need, and the codes in them.

Arguments and returns are forms of `_nanonis_codecs`. Set commands and their Get partners use different codes for the
same thing: one table of words has both.

Source: SPECS, Nanonis SPM TCP programming interface, releases R13742 (June 2024) and R14718 (April 2025).
"""

from typing import NamedTuple

R11798, R13742, R14718 = 11798, 13742, 14718
"""Releases with another form of some command."""


class Command(NamedTuple):
    """What goes and what comes, in the newest release.

    Attributes:
        arguments, returns: forms.
        since: the release that has it first; 0 where all have.
        before: (release, arguments, returns) in releases before that one.
    """

    arguments: str = ""
    returns: str = ""
    since: int = 0
    before: tuple[int, str, str] | None = None

    def form(self, release: int) -> tuple[str, str]:
        """Arguments and returns in a release."""
        if self.before is not None and release < self.before[0]:
            return self.before[1:]
        return self.arguments, self.returns


COMMANDS = {
    "Util.VersionGet": Command("", "s s I I"),  # product line, version, host release, real-time release
    "Util.SessionPathGet": Command("", "s"),
    "Util.AcqPeriodGet": Command("", "f"),
    "Util.AcqPeriodSet": Command("f"),
    "Signals.NamesGet": Command("", "S"),
    "Signals.ValGet": Command("i I", "f"),
    "Signals.ValsGet": Command("i* I", "f*"),
    "Signals.RangeGet": Command("i", "f f"),  # highest before lowest
    "Signals.CalibrGet": Command("i", "f f"),
    "Bias.Set": Command("f"),
    "Bias.Get": Command("", "f"),
    "Bias.RangeGet": Command("", "S H"),
    "Bias.Pulse": Command("I f f H H"),  # wait, width, bias, hold, absolute
    "Current.Get": Command("", "f"),
    "ZCtrl.OnOffSet": Command("I"),
    "ZCtrl.OnOffGet": Command("", "I"),
    "ZCtrl.SetpntSet": Command("f"),
    "ZCtrl.SetpntGet": Command("", "f"),
    "ZCtrl.ZPosSet": Command("f"),
    "ZCtrl.ZPosGet": Command("", "f"),
    "ZCtrl.Withdraw": Command("I i"),  # wait, ms
    "ZCtrl.StatusGet": Command("", "H"),
    "ZCtrl.LimitsGet": Command("", "f f"),
    "ZCtrl.HomePropsGet": Command("", "H f"),
    "SafeTip.OnOffSet": Command("H"),
    "SafeTip.OnOffGet": Command("", "H"),
    "SafeTip.PropsGet": Command("", "H H f"),
    "Piezo.RangeGet": Command("", "f f f"),  # whole range: limits are half of it to either side
    "Piezo.DriftCompSet": Command("i f f f f", "", 0, (R11798, "i f f f", "")),
    "Piezo.DriftCompGet": Command("", "I f f f I I I f", 0, (R11798, "", "I f f f I I I")),
    "FolMe.XYPosSet": Command("d d I"),
    "FolMe.XYPosGet": Command("I", "d d"),
    "FolMe.SpeedSet": Command("f I"),
    "FolMe.SpeedGet": Command("", "f I"),
    "FolMe.Stop": Command(),
    "Scan.FrameSet": Command("f f f f f"),  # centre, width, height, angle in degrees, positive = clockwise
    "Scan.FrameGet": Command("", "f f f f f"),
    "Scan.BufferSet": Command("i* i i"),
    "Scan.BufferGet": Command("", "i* i i"),
    "Scan.SpeedSet": Command("f f f f H f"),
    "Scan.SpeedGet": Command("", "f f f f H f"),
    "Scan.Action": Command("H I"),
    "Scan.StatusGet": Command("", "I"),
    "Scan.WaitEndOfScan": Command("i", "I s"),
    "Scan.WaitEndOfLine": Command("i", "I i H i", R14718),
    "Scan.FrameDataGrab": Command("I I", "s F2 I"),
    "Scan.Save": Command("I i", "I"),
    "Scan.PropsSet": Command("I I I s s S I"),
    "Scan.PropsGet": Command("", "I I I s s S i* S2 I"),
    "BiasSpectr.Open": Command(),
    "BiasSpectr.Stop": Command(),
    "BiasSpectr.ChsSet": Command("i*"),
    "BiasSpectr.ChsGet": Command("", "i* S"),
    "BiasSpectr.LimitsSet": Command("f f"),
    "BiasSpectr.LimitsGet": Command("", "f f"),
    "BiasSpectr.PropsSet": Command("H i H i f H H"),
    "BiasSpectr.PropsGet": Command("", "H i H i S S H H", 0, (R14718, "", "H i H i S S S")),
    "BiasSpectr.TimingSet": Command("f f f f f f f f"),
    "BiasSpectr.TimingGet": Command("", "f f f f f f f f"),
    "BiasSpectr.AdvPropsSet": Command("H H H H"),
    "BiasSpectr.AdvPropsGet": Command("", "H H H H"),
    "BiasSpectr.Start": Command("I s", "S F2 f*"),
    "BiasSpectr.StatusGet": Command("", "I"),
    "BiasSpectr.SafeCond1Set": Command("H f i H", "", R14718),
    "LockIn.ModOnOffSet": Command("i I"),
    "LockIn.ModOnOffGet": Command("i", "I"),
    "LockIn.ModAmpSet": Command("i f"),
    "LockIn.ModAmpGet": Command("i", "f"),
    "LockIn.ModPhasFreqSet": Command("i d"),
    "LockIn.ModPhasFreqGet": Command("i", "d"),
    "Pattern.CloudSet": Command("I i f+ f+"),
    "Pattern.ExpOpen": Command(),
    "Pattern.ExpStart": Command("H"),
    "Pattern.ExpStop": Command(),
    "Pattern.ExpStatusGet": Command("", "I"),
    "TCPLog.ChsSet": Command("i*"),
    "TCPLog.OversamplSet": Command("i"),
    "TCPLog.Start": Command(),
    "TCPLog.Stop": Command(),
    "TCPLog.StatusGet": Command("", "i"),
    "File.datLoad": Command("s I", "S F2 S2", R14718),
}
"""By name. Left out on purpose are those that no campaign may send: AutoApproach, Motor, TipShaper, Util.Quit and
Util.Lock."""


class Codes(NamedTuple):
    """Words for the codes of one field: what is sent, and what is told."""

    sent: dict[str, int]
    told: dict[str, int]

    def word(self, code: int) -> str:
        """The word of a code that was told. Raises KeyError for one that is none."""
        return {number: word for word, number in self.told.items()}[code]


_SWITCH = Codes({"as is": 0, "on": 1, "off": 2}, {"off": 0, "on": 1})
_PLAIN = Codes({"off": 0, "on": 1}, {"off": 0, "on": 1})
_SAVING = Codes({"as is": 0, "all": 1, "next": 2, "off": 3}, {"all": 0, "next": 1, "off": 2})

CODES = {
    "SafeTip.OnOff": _SWITCH,
    "Piezo.DriftComp": _SWITCH,
    "ZCtrl.OnOff": _PLAIN,
    "LockIn.ModOnOff": _PLAIN,
    "FolMe.Speed custom": _PLAIN,
    "Scan.Props continuous": _SWITCH,
    "Scan.Props bouncy": _SWITCH,
    "Scan.Props autosave": _SAVING,
    "Scan.Props autopaste": _SAVING,
    "Scan.Speed keep": Codes({"as is": 0, "speed": 1, "time": 2}, {"speed": 0, "time": 1}),
    "BiasSpectr.Props": _SWITCH,
    "BiasSpectr.AdvProps": _SWITCH,
    "Scan.Action": Codes(
        {"start": 0, "stop": 1, "pause": 2, "resume": 3, "freeze": 4, "unfreeze": 5, "to centre": 6}, {}
    ),
    "Scan direction": Codes({"down": 0, "up": 1}, {"down": 0, "up": 1}),
    "Scan.FrameDataGrab": Codes({"backward": 0, "forward": 1}, {}),
    "Bias.Pulse hold": Codes({"as is": 0, "hold": 1, "not": 2}, {}),
    "Bias.Pulse absolute": Codes({"as is": 0, "relative": 1, "absolute": 2}, {}),
    "ZCtrl.Status": Codes(
        {}, {"off": 1, "on": 2, "hold": 3, "switching off": 4, "safe tip happened": 5, "withdrawing": 6}
    ),
    "BiasSpectr.SafeCond1 act": Codes({"as is": 0, "off": 1, "reverse": 2, "stop": 3}, {}),
    "BiasSpectr.SafeCond1 side": Codes({"above": 0, "below": 1, "as is": 2}, {}),
    "TCPLog.Status": Codes(
        {},
        {"disconnected": 0, "idle": 1, "start": 2, "stop": 3, "running": 4, "connect": 5, "disconnect": 6,
         "overflow": 7},
    ),
}  # fmt: skip
"""By command or field."""

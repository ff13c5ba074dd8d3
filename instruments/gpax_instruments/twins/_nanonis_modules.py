"""What each command of the simulated controller does, but for spectra and scans. No wire here.

A table of handlers maps the name of a command to a function of its arguments that returns what the command returns.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from gpax_instruments._nanonis_commands import CODES
from gpax_instruments.twins._nanonis_world import BIAS, CURRENT, NAMES, RANGE_M, Refused, World

Handlers = dict[str, Callable[..., tuple[Any, ...]]]
PRODUCT = "Nanonis SPM Control Software"
AMPLIFIER_A = 1e-7


def sent(field: str, code: int) -> str:
    """The word of a code that was sent. Raises Refused for one that is none."""
    for word, number in CODES[field].sent.items():
        if number == code:
            return word
    raise Refused(f"{code} is no code of {field}")


def changed(field: str, code: int, now: str) -> str:
    """The word that holds after a code was sent where `now` held."""
    word = sent(field, code)
    return now if word == "as is" else word


def told(field: str, word: str) -> int:
    """The code by which a word is told."""
    return CODES[field].told[word]


def finite(*values: float) -> None:
    """Raise Refused where one is not finite."""
    if not all(math.isfinite(value) for value in values):
        raise Refused("a number is not finite")


def done(*_: object) -> tuple[Any, ...]:
    """A command that does nothing, and returns as much."""
    return ()


def act(function: Callable[..., None]) -> Callable[..., tuple[Any, ...]]:
    """A command that returns nothing."""

    def handler(*values: Any) -> tuple[Any, ...]:
        function(*values)
        return ()

    return handler


def basic(world: World, release: int) -> Handlers:
    """Util, Signals, Bias, Current, ZCtrl, SafeTip, Piezo, FolMe, LockIn and TCPLog."""
    return {
        **_util(world, release),
        **_signals(world),
        **_bias(world),
        **_controller(world),
        **_piezo(world, release),
        **_follow_me(world),
        **_lockin(world),
        **_logger(),
    }


def _util(world: World, release: int) -> Handlers:
    period = [0.02]

    def set_period(seconds: float) -> tuple[()]:
        finite(seconds)
        period[0] = min(max(seconds, 1e-3), 10.0)  # coerced
        return ()

    return {
        "Util.VersionGet": lambda: (PRODUCT, "Generic 5e", release, release),
        "Util.SessionPathGet": lambda: (str(world.session),),
        "Util.AcqPeriodGet": lambda: (period[0],),
        "Util.AcqPeriodSet": set_period,
    }


def _signals(world: World) -> Handlers:
    def several(indices: np.ndarray, wait: int) -> tuple[Any, ...]:
        return ([world.signal(int(k)) for k in indices],)

    def bounds(index: int) -> tuple[float, float]:
        world.signal(index)
        limit = {CURRENT: AMPLIFIER_A, BIAS: 10.0}.get(index, 10.0)
        return limit, -limit

    return {
        "Signals.NamesGet": lambda: (NAMES,),
        "Signals.ValGet": lambda index, wait: (world.signal(index),),
        "Signals.ValsGet": several,
        "Signals.RangeGet": bounds,
        "Signals.CalibrGet": lambda index: (0.1 * bounds(index)[0], 0.0),
        "Current.Get": lambda: (world.signal(CURRENT),),
    }


def _bias(world: World) -> Handlers:
    def pulse(wait: int, width: float, volts: float, hold: int, absolute: int) -> tuple[()]:
        finite(width, volts)
        sent("Bias.Pulse hold", hold)
        world.pulse(width, volts, sent("Bias.Pulse absolute", absolute) != "relative")
        return ()

    return {
        "Bias.Set": act(world.set_bias),
        "Bias.Get": lambda: (world.bias,),
        "Bias.RangeGet": lambda: (["10 V"], 0),
        "Bias.Pulse": pulse,
    }


def _controller(world: World) -> Handlers:
    safe_tip = ["off"]

    def set_z(z: float) -> tuple[()]:
        finite(z)
        if world.controller != "off":
            raise Refused("the Z position can be set only with the Z-Controller off")
        if not abs(z) <= 0.5 * RANGE_M[2]:
            raise Refused("Z is outside the piezo range")
        world.z = z
        return ()

    def set_safe_tip(code: int) -> tuple[()]:
        safe_tip[0] = changed("SafeTip.OnOff", code, safe_tip[0])
        return ()

    def switch(code: int) -> tuple[()]:
        world.set_controller(sent("ZCtrl.OnOff", code) == "on")
        return ()

    return {
        "ZCtrl.OnOffSet": switch,
        "ZCtrl.OnOffGet": lambda: (told("ZCtrl.OnOff", "on" if world.controller == "on" else "off"),),
        "ZCtrl.SetpntSet": act(world.set_setpoint),
        "ZCtrl.SetpntGet": lambda: (world.setpoint,),
        "ZCtrl.ZPosSet": set_z,
        "ZCtrl.ZPosGet": lambda: (world.z,),
        "ZCtrl.Withdraw": act(lambda wait, ms: world.withdraw(bool(wait))),
        "ZCtrl.StatusGet": lambda: (told("ZCtrl.Status", world.controller),),
        "ZCtrl.LimitsGet": lambda: (0.5 * RANGE_M[2], -0.5 * RANGE_M[2]),
        "ZCtrl.HomePropsGet": lambda: (0, 0.0),
        "SafeTip.OnOffSet": set_safe_tip,
        "SafeTip.OnOffGet": lambda: (told("SafeTip.OnOff", safe_tip[0]),),
        "SafeTip.PropsGet": lambda: (0, 0, 1e-8),
    }


def _piezo(world: World, release: int) -> Handlers:
    drift: dict[str, Any] = {"on": "off", "v": (0.0, 0.0, 0.0), "limit": 10.0}

    def set_drift(code: int, vx: float, vy: float, vz: float, *limit: float) -> tuple[()]:
        finite(vx, vy, vz, *limit)
        drift["on"], drift["v"] = changed("Piezo.DriftComp", code, drift["on"]), (vx, vy, vz)
        drift["limit"] = min(max(limit[0], 0.0), 100.0) if limit else drift["limit"]
        return ()

    def get_drift() -> tuple[Any, ...]:
        rest = () if release < 11798 else (drift["limit"],)
        return (told("Piezo.DriftComp", drift["on"]), *drift["v"], 0, 0, 0, *rest)

    return {
        "Piezo.RangeGet": lambda: RANGE_M,
        "Piezo.DriftCompSet": set_drift,
        "Piezo.DriftCompGet": get_drift,
    }


def _follow_me(world: World) -> Handlers:
    def speed(metres: float, custom: int) -> tuple[()]:
        finite(metres)
        if not 0 < metres <= 1e-3:
            raise Refused("Speed is out of range")
        world.speed, world.custom_speed = metres, int(bool(custom))
        return ()

    return {
        "FolMe.XYPosSet": act(lambda x, y, wait: world.move(x, y, bool(wait))),
        "FolMe.XYPosGet": lambda wait: tuple(world.position.tolist()),
        "FolMe.SpeedSet": speed,
        "FolMe.SpeedGet": lambda: (world.speed, world.custom_speed),
        "FolMe.Stop": act(world.stop_moving),
    }


def _lockin(world: World) -> Handlers:
    def modulator(number: int, **values: float) -> tuple[()]:
        finite(*values.values())
        if number != 1:
            raise Refused(f"modulator {number} does not exist")
        if not 0.0 <= values.get("amplitude", 0.0) <= 1.0 or not 0.0 <= values.get("frequency", 0.0) <= 4e4:
            raise Refused("the modulation is out of range")
        world.lockin |= values
        return ()

    def read(number: int, name: str) -> tuple[float]:
        modulator(number)
        return (world.lockin[name],)

    return {
        "LockIn.ModOnOffSet": lambda n, on: modulator(n, on=on),
        "LockIn.ModOnOffGet": lambda n: read(n, "on"),
        "LockIn.ModAmpSet": lambda n, volts: modulator(n, amplitude=volts),
        "LockIn.ModAmpGet": lambda n: read(n, "amplitude"),
        "LockIn.ModPhasFreqSet": lambda n, hertz: modulator(n, frequency=hertz),
        "LockIn.ModPhasFreqGet": lambda n: read(n, "frequency"),
    }


def _logger() -> Handlers:
    """The TCP logger's states; its stream of numbers has a port of its own and is not simulated."""
    state = ["idle"]

    def enter(word: str) -> tuple[()]:
        state[0] = word
        return ()

    def oversample(factor: int) -> tuple[()]:
        if not 0 <= factor <= 1000:
            raise Refused("Oversampling is out of range")
        return ()

    return {
        "TCPLog.ChsSet": lambda channels: done([NAMES[int(k)] for k in channels]),
        "TCPLog.OversamplSet": oversample,
        "TCPLog.Start": lambda: enter("running"),
        "TCPLog.Stop": lambda: enter("idle"),
        "TCPLog.StatusGet": lambda: (told("TCPLog.Status", state[0]),),
    }


def modules(*tables: Mapping[str, Callable[..., tuple[Any, ...]]]) -> Handlers:
    """All handlers in one table."""
    return {name: handler for table in tables for name, handler in table.items()}

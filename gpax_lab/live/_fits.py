"""The curve that describes a measurement, where its arrays are those of a spectrum that we know how to fit."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from gpax_lab.core import Status
from gpax_lab.live._digest import on_screen
from gpax_lab.spectra import loops, sho
from gpax_lab.storage import JournalRecord

_Curves = tuple[Mapping[str, np.ndarray], Any]


def _loop(bias: np.ndarray, response: np.ndarray) -> _Curves:
    fit = loops.loop_fit(bias, response)
    return {"response": np.asarray(loops.loop_function(bias, fit.params))}, fit.status


def _resonance(frequency: np.ndarray, real: np.ndarray, imaginary: np.ndarray) -> _Curves:
    fit = sho.sho_fit(frequency, real + 1j * imaginary)
    curve = np.asarray(sho.sho_response(frequency, fit.params))
    return {"real": curve.real, "imaginary": curve.imag}, fit.status


_KNOWN: Mapping[tuple[str, ...], tuple[str, Callable[..., _Curves]]] = {
    ("bias", "response"): ("hysteresis loop", _loop),
    ("frequency", "real", "imaginary"): ("damped oscillator", _resonance),
}


def fitted(record: JournalRecord) -> dict[str, Any]:
    """What a page draws over the raw arrays of a measurement.

    Returns:
        name of the description, curves {name: (n,)} thinned as `raw` thins, status in words; {} where none is known.
    """
    arrays = {
        name.removeprefix("raw/"): np.asarray(values, np.float64)
        for name, values in record.arrays.items()
        if name.startswith("raw/") and np.asarray(values).dtype.kind in "iuf" and np.asarray(values).ndim == 1
    }
    for names, (what, fit) in _KNOWN.items():
        given = [arrays[name] for name in names if name in arrays]
        if len(given) == len(names) and len({len(one) for one in given}) == 1 and np.isfinite(given).all():
            curves, code = fit(*given)
            status = Status.of(code)
            shown = {name: on_screen(curve) for name, curve in curves.items()}
            return {"name": what, "curves": shown, "ok": status == Status.OK, "words": status.describe()}
    return {}

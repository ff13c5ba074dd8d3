"""The instrument of a campaign, opened and let go."""

from collections.abc import Iterator
from contextlib import contextmanager

from gpax_instruments.pfm import PFM
from gpax_instruments.protocols import Instrument

from gpax_lab.settings.build import TWIN_RESPONSE, Plan
from gpax_lab.settings.schema import Pfm, Twin


@contextmanager
def connect(plan: Plan) -> Iterator[Instrument]:
    """The instrument that the settings name; safe and closed (a twin: ended) afterwards.

    Raises:
        InstrumentError: it does not answer, or is not what the settings say.
    """
    match plan.settings.instrument:
        case Pfm() as chosen:
            with PFM(
                chosen.address,
                plan.axes,
                vmax=chosen.vmax,
                points=chosen.points,
                max_bias=chosen.max_bias,
                timeout_s=chosen.timeout_s,
                loop_timeout_s=chosen.loop_timeout_s,
                response_unit=chosen.response_unit,
                repeatable=chosen.repeatable,
            ) as device:
                yield device
        case Twin() as chosen:
            from gpax_instruments.twins import start_pfm

            # A new twin has a fresh film of the same seed, and its noise follows from the token: repeating is honest.
            with (
                start_pfm(seed=chosen.seed, noise=chosen.noise, dwell=chosen.dwell) as twin,
                PFM(
                    twin.address, plan.axes, vmax=chosen.vmax, points=chosen.points,
                    loop_timeout_s=30.0 + 2.0 * chosen.dwell, response_unit=TWIN_RESPONSE, repeatable=True,
                ) as device,
            ):  # fmt: skip
                yield device
        case _:
            assert plan.record is not None
            yield plan.record

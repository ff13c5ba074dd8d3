"""A setting that a driver sends, and that nobody else may change."""

from collections.abc import Callable

from gpax_instruments.errors import DeviceError, Interference
from gpax_instruments.links._scpi import Scpi


class Kept:
    """Numbers of the instrument that shall be ours, the last of them a count.

    Args:
        header: the command that sets them, and with ``?`` tells them.
        name: what they are, in messages.
        units: of the numbers, in messages.
        wanted: what is asked for now, judged once more by the driver's own limits, whoever has touched the driver.
    """

    def __init__(self, header: str, name: str, units: str, wanted: Callable[[], list[float]]) -> None:
        self.header, self.name, self.units, self._wanted = header, name, units, wanted
        self._sent: list[float] = []  # what the instrument was given last

    def prepare(self, scpi: Scpi) -> None:
        """After every (re)connection: only what differs is written, so that a setting in use is left alone."""
        wanted = self._wanted()
        if scpi.query_numbers(f"{self.header}?")[0].tolist() != wanted:
            self._send(scpi, wanted)
        self._sent = wanted

    def check(self, scpi: Scpi) -> None:
        """Raise Interference unless the instrument has what was asked for; send what this driver itself has changed."""
        wanted = self._wanted()
        found = scpi.read_numbers_again(f"{self.header}?")[0].tolist()
        if found == wanted:
            return
        if found != self._sent:
            raise Interference(
                f"{scpi.link.address}: its {self.name} is {found} ({self.units}), {wanted} was asked for: does another "
                "program use the instrument?"
            )
        self._send(scpi, wanted)
        self._sent = wanted

    def _send(self, scpi: Scpi, wanted: list[float]) -> None:
        numbers = [*(repr(value) for value in wanted[:-1]), str(int(wanted[-1]))]
        scpi.write(f"{self.header} {','.join(numbers)}")
        found = scpi.query_numbers(f"{self.header}?")[0].tolist()
        if found != wanted:
            raise DeviceError(f"{self.name} refused: {'; '.join(scpi.errors()) or found}")

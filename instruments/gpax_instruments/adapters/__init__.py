"""What is no instrument, as one: measured files played back."""

from gpax_instruments.adapters._recorded import RecordedData, RecordedLoops

__all__ = ["RecordedData", "RecordedLoops"]

"""A journal as it grows: whole entries in the order of their bytes, each once, while another program writes them."""

import os
from pathlib import Path

from gpax_lab.storage import JournalRecord
from gpax_lab.storage import _files as files
from gpax_lab.storage._contents import is_raw
from gpax_lab.storage._records import BEGINNING, begun, bytes_at, record_at, whole_records


class Follower:
    """Reads on from where it ended; raw arrays stay in the file until `numpy.asarray` asks for them.

    Args:
        path: the journal.

    Attributes:
        count: entries found so far.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.count = Path(path), 0
        self._at, self._size = 0, -1
        self._campaign: bytes | None = None

    def poll(self) -> list[JournalRecord]:
        """The entries that are new since the last call.

        Raises:
            JournalMissing, JournalPlace: the file is gone or out of reach; once it is back, ask again.
        """
        found = []
        with files.open_read(self.path) as file:
            size = os.fstat(file.fileno()).st_size
            if size == self._size:
                return []
            if self._campaign is None:
                start, campaign = begun(bytes_at(file, 0, BEGINNING))
                if not start or campaign is None:
                    return []  # its first bytes are not written yet
                self._at, self._campaign = start, campaign
            self._size = size
            for one in whole_records(file, self._at, size):
                if one.stamp.campaign == self._campaign:
                    found.append(record_at(file, (one.start, one.end), is_raw))
                    self._at = one.end
        self.count += len(found)
        return found

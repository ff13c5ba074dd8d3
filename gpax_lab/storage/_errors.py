"""What can go wrong with a campaign file, each with a class of its own."""


class JournalError(Exception):
    """Base of every error of the campaign journal."""


class ForeignFile(JournalError):
    """The file is not a campaign journal, or was written by a newer version; it was left as it is."""


class JournalExists(JournalError, FileExistsError):
    """A new journal was asked for where a file already is."""


class JournalMissing(JournalError, FileNotFoundError):
    """There is no such journal, or no folder for it."""


class JournalPlace(JournalError, OSError):
    """The path is no file that can be written or read: a folder, a pipe, a name that the system refuses."""


class JournalDisturbed(JournalError):
    """Somebody else removed, replaced, cut or wrote the journal while it was open; what was due is in a rescue file."""


class JournalEmpty(JournalError):
    """The file was being created when the program died: nothing was recorded in it."""


class JournalLocked(JournalError):
    """Another process is writing this journal."""


class JournalCorrupt(JournalError):
    """Bytes inside the journal, with later whole writes after them, are damaged."""


class JournalFull(JournalError):
    """The disk refused the bytes; the journal ends at its last whole record and can go on when there is room."""


class DiskFull(JournalError, OSError):
    """There is not enough room for the next measurement, or for a file that is made from the journal."""


class ExportError(Exception):
    """The HDF5 file could not be written, or did not read back as it was meant."""


class UnreadableFile(ValueError):
    """A measured file is of no known format, damaged, or holds nothing to read."""

"""What a server answers when it does not do what an agent asks for."""


class Refused(ValueError):
    """It is not done; the text says why, and what may be asked for instead. It names no file of this machine."""

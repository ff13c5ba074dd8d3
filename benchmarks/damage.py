"""Ways in which bytes get damaged; each takes them and a `random.Random`, and gives other ones back."""


def flip(data, dice):
    """Some bits turned."""
    spoilt = bytearray(data)
    for _ in range(dice.choice((1, 1, 1, 3, 10))):
        spoilt[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    return bytes(spoilt)


def cut(data, dice):
    """A piece, or all that follows, gone."""
    at = dice.randrange(len(data))
    return data[:at] + data[at + dice.choice((1, 2, 17, 400, 5000, len(data))) :]


def insert(data, dice):
    """Bytes of no meaning in between."""
    at = dice.randrange(len(data) + 1)
    return data[:at] + dice.randbytes(dice.choice((1, 2, 17, 400))) + data[at:]


def overwrite(data, dice):
    """Zeros over a stretch."""
    at = dice.randrange(len(data))
    size = dice.choice((1, 16, 512, 4096))
    return data[:at] + bytes(min(size, len(data) - at)) + data[at + size :]


def append(data, dice):
    """Bytes of no meaning behind."""
    return data + dice.randbytes(dice.choice((1, 2, 17, 400)))


def exaggerate(data, dice):
    """A number of the head, of 1 to 8 bytes or in digits, replaced by one that no file means."""
    at = dice.randrange(min(len(data), dice.choice((64, 400, 2000, len(data)))))
    huge = dice.choice((b"\xff\xff\xff\x7f", b"\x7f\xff\xff\xff", b"\xff\xff", b"\xff" * 8, b"\0" * 4, b"9999", b"-1"))
    return data[:at] + huge + data[at + len(huge) :]

"""Small files byte by byte as the programs of vendors write them."""

import json
import struct

import h5py
import numpy as np


def sxm(path, images, channels, *, angle=0.0, up=False, size=(4e-8, 3e-8), centre=(1e-9, -1e-9), without=()):
    """A Nanonis scan; images in the order in which they are recorded, channels as (name, unit, direction)."""
    ny, nx = images[0].shape
    parts = {
        "NANONIS_VERSION": "2",
        "SCANIT_TYPE": "              FLOAT            MSBFIRST",
        "REC_DATE": " 01.02.2024",
        "REC_TIME": "10:00:00",
        "ACQ_TIME": "       1.0",
        "SCAN_PIXELS": f"       {nx}       {ny}",
        "SCAN_TIME": "             1.0E-1             1.0E-1",
        "SCAN_RANGE": f"           {size[0]:E}           {size[1]:E}",
        "SCAN_OFFSET": f"             {centre[0]:E}         {centre[1]:E}",
        "SCAN_ANGLE": f"            {angle:E}",
        "SCAN_DIR": "up" if up else "down",
        "BIAS": "            1.0E-1",
        "DATA_INFO": "\tChannel\tName\tUnit\tDirection\tCalibration\tOffset\n"
        + "".join(f"\t{k}\t{n}\t{u}\t{d}\t1.0E+0\t0.0E+0\n" for k, (n, u, d) in enumerate(channels)),
    }
    head = "".join(f":{key}:\n{value.rstrip()}\n" for key, value in parts.items() if key not in without)
    body = b"".join(np.asarray(image, ">f4").tobytes() for image in images)
    path.write_bytes((head + "\n:SCANIT_END:\n\n\n").encode() + b"\x1a\x04" + body)
    return path


def grid(path, data, parameters, channels, names, *, angle=0.0, without=(), settings=(1e-9, 2e-9, 3e-8, 2e-8), **more):
    """A Nanonis grid; data (y, x, channel, point), parameters (y, x, parameter) after two of the sweep."""
    ny, nx, count, points = data.shape
    parts = {
        "Grid dim": f'"{nx} x {ny}"',
        "Grid settings": ";".join(f"{number:E}" for number in (*settings, angle)),
        "Filetype": "Linear",
        "Sweep Signal": '"Bias (V)"',
        "Fixed parameters": '"Sweep Start;Sweep End"',
        "Experiment parameters": f'"{";".join(names)}"',
        "# Parameters (4 byte)": parameters.shape[-1],
        "Experiment size (bytes)": 4 * count * points,
        "Points": points,
        "Channels": f'"{";".join(channels)}"',
        "Delay before measuring (s)": "0.0",
        "Experiment": '"Grid Spectroscopy"',
        "Start time": '"01.02.2024 10:00:00"',
        "End time": '"01.02.2024 11:00:00"',
        "User": "",
        "Comment": "",
        **more,
    }
    head = "".join(f"{key}={value}\r\n" for key, value in parts.items() if key not in without) + ":HEADER_END:\r\n"
    body = np.concatenate([parameters, data.reshape(ny, nx, -1)], -1).astype(">f4").tobytes()
    path.write_bytes(head.encode() + body)
    return path


def ibw(path, values, *, labels=(), note=b"", scale=(2e-9, 3e-9), offset=(0.0, 1e-9), units=(b"m", b"m"), big=False):
    """An Igor wave of version 5; labels for the last dimension, each 32 bytes as they are."""
    order = ">" if big else "<"
    values = np.asarray(values)
    kinds = {"f4": 2, "f8": 4, "i2": 16, "i4": 32, "u1": 72, "c8": 3}
    shape = [*values.shape, 0, 0, 0][:4]
    steps = [*scale, 1, 1, 1, 1][:4]
    starts = [*offset, 0, 0, 0, 0][:4]
    raw = b"".join(label.ljust(32, b"\0") for label in (b"", *labels)) if labels else b""
    sizes = [0, 0, 0, 0]
    sizes[values.ndim - 1] = len(raw)
    wave = struct.pack(order + "IIIihh", 0, 0, 0, values.size, kinds[values.dtype.str[1:]], 0)
    wave += bytes(6) + struct.pack(order + "h", 0) + b"scan".ljust(32, b"\0") + struct.pack(order + "iI", 0, 0)
    wave += struct.pack(order + "4i4d4d", *shape, *steps, *starts) + b"m\0\0\0"
    wave += b"".join(unit.ljust(4, b"\0") for unit in (*units, b"", b"", b"")[:4])
    wave = wave.ljust(320, b"\0")

    def head(check):
        return struct.pack(
            order + "hHiiii4i4iiii", 5, check, 320 + values.nbytes, 0, len(note), 0, 0, 0, 0, 0, *sizes, 0, 0, 0
        )

    check = -int(np.frombuffer(head(0) + wave, order + "i2").sum(dtype=np.int64)) & 0xFFFF
    data = values.astype(values.dtype.newbyteorder(order)).tobytes(order="F")
    path.write_bytes(head(check) + wave + data + note + raw)
    return path


def gwy(path, components):
    """A Gwyddion file of (key, type, value); an object is (name, components)."""

    def body(parts):
        return b"".join(key.encode() + b"\0" + kind.encode() + pack(kind, value) for key, kind, value in parts)

    def pack(kind, value):
        if kind == "s":
            return value.encode() + b"\0"
        if kind == "o":
            inside = body(value[1])
            return value[0].encode() + b"\0" + struct.pack("<I", len(inside)) + inside
        if kind == "S":
            return struct.pack("<I", len(value)) + b"".join(pack("s", one) for one in value)
        if kind == "O":
            return struct.pack("<I", len(value)) + b"".join(pack("o", one) for one in value)
        if kind in "DICQ":
            flat = np.asarray(value, {"D": "<f8", "I": "<i4", "Q": "<i8", "C": "i1"}[kind]).ravel()
            return struct.pack("<I", flat.size) + flat.tobytes()
        return struct.pack({"b": "<B", "c": "<b", "i": "<i", "q": "<q", "d": "<d"}[kind], value)

    path.write_bytes(b"GWYP" + pack("o", ("GwyContainer", components)))
    return path


def unit(text):
    """A Gwyddion object of a unit."""
    return ("GwySIUnit", [("unitstr", "s", text)])


def field(values, real, offset=(0.0, 0.0), z="m"):
    """A Gwyddion object of an image of real size (x, y)."""
    ny, nx = np.shape(values)
    return (
        "GwyDataField",
        [
            ("xres", "i", nx),
            ("yres", "i", ny),
            ("xreal", "d", real[0]),
            ("yreal", "d", real[1]),
            ("xoff", "d", offset[0]),
            ("yoff", "d", offset[1]),
            ("si_unit_xy", "o", unit("m")),
            ("si_unit_z", "o", unit(z)),
            ("data", "D", values),
        ],
    )


def usid(path, data, positions, spectra, *, values=None, dtype=np.float32, others=(), **attributes):
    """A USID file; positions (points, 2) as indices of X and Y in steps of 2 and 3 nm unless their values are given."""
    with h5py.File(path, "w") as file:
        file.attrs["instrument"] = "twin"
        group = file.create_group("Measurement_000/Channel_000")
        file["Measurement_000"].attrs["grid"] = "as asked"
        where = positions * np.array([2e-9, 3e-9]) if values is None else np.asarray(values)
        names, indices, numbers, units = spectra
        tables = {
            "Position_Indices": (positions.astype(np.uint32), ["X", "Y"], ["m", "m"]),
            "Position_Values": (where.astype(np.float32), ["X", "Y"], ["m", "m"]),
            "Spectroscopic_Indices": (np.asarray(indices, np.uint32), names, units),
            "Spectroscopic_Values": (np.asarray(numbers, np.float32), names, units),
        }
        main = group.create_dataset("Raw_Data", data=np.asarray(data, dtype))
        main.attrs.update({"quantity": "Response", "units": "V", **attributes})
        for name, (table, labels, its) in tables.items():
            node = group.create_dataset(name, data=table)
            node.attrs.update({"labels": labels, "units": its})
            main.attrs[name] = node.ref
        for name, other in others:
            group.create_dataset(name, data=other)
    return path


def mrc(path, image, size):
    """An MRC image (MRC2014: 1024 bytes of header, mode 2), with its size in Å."""
    ny, nx = image.shape
    head = struct.pack("<10i6f3i3f", nx, ny, 1, 2, 0, 0, 0, nx, ny, 1, *size, 90, 90, 90, 1, 2, 3, 0, 0, 0)
    head = head.ljust(208, b"\0") + b"MAP \x44\x44\0\0"
    path.write_bytes(head.ljust(1024, b"\0") + np.asarray(image, "<f4").tobytes())
    return path


def tiff(path, image, bits):
    """A TIFF image of one plain strip of whole numbers of so many bits, most significant first; rows fill bytes."""
    ny, nx = image.shape
    digits = (np.asarray(image, np.int64)[..., None] >> np.arange(bits)[::-1]) & 1
    body = np.packbits(digits.reshape(ny, -1).astype(np.uint8), axis=1).tobytes()
    tags = [(256, nx), (257, ny), (258, bits), (259, 1), (262, 1), (273, 8), (277, 1), (278, ny), (279, len(body))]
    body += bytes(len(body) % 2)
    table = struct.pack(">H", len(tags)) + b"".join(struct.pack(">HHII", tag, 4, 1, value) for tag, value in tags)
    path.write_bytes(b"MM\0*" + struct.pack(">I", 8 + len(body)) + body + table + bytes(4))
    return path


def unf(path, image, scale, offset, units):
    """A Semper image (records between their lengths; a label of 256 words of which a byte each is used), x first."""
    ny, nx = image.shape
    head = struct.pack("<6h", nx, ny, 1, 6, 2, 2 * 10000 + 1000)
    words = np.zeros(256, np.uint8)

    def put(at, values):
        words[at : at + len(values)] = list(values)

    put(0, b"Semper")
    for at, n in zip((6, 8, 10), (nx, ny, 1), strict=True):
        put(at, divmod(n, 256))
    put(21, (124, 2, 1, 10, 0, 0))
    put(62, (1, 4))
    for at, number in zip((83, 87, 91, 95), (scale[1], offset[1], scale[0], offset[0]), strict=True):
        put(at, struct.pack("<f", number))
    put(244, units[0].encode())
    put(248, units[1].encode())
    label = words.astype("<i2").tobytes()
    rows = [np.asarray(row, "<f4").tobytes() for row in image]
    path.write_bytes(
        b"".join(struct.pack("<i", len(part)) + part + struct.pack("<i", len(part)) for part in (head, label, *rows))
    )
    return path


def prz(path, image, scale, offset, unit):
    """A Panta Rhei image: a zip file of arrays and a description in JSON, x first."""
    calibration = [
        {"label": name, "unit": unit, "value": step, "offset": start / step}
        for name, step, start in zip("xy", scale, offset, strict=True)
    ]
    about = [{"type": "2D", "device.calib": calibration}]
    with path.open("wb") as file:
        np.savez_compressed(file, data=image, meta_data_json=json.dumps(about), file_format_version=2)
    return path


def ser(path, spectra, energy, places):
    """A series of spectra along a line, as TIA writes them: start and step of the energy in eV, of places in m."""
    count, size = spectra.shape
    unit = b"meters"
    head = struct.pack("<HHHIIII", 0x4949, 0x0197, 0x0210, 0x4120, 0x4142, count, count)
    line = struct.pack("<IddII", count, *places, 0, 0) + struct.pack("<I", len(unit)) + unit
    start = 30 + len(line)
    first = start + 8 * count
    body, offsets = b"", []
    for k, row in enumerate(spectra):
        offsets.append(first + len(body))
        body += struct.pack("<ddIHI", *energy, 0, 7, size) + np.asarray(row, "<f4").tobytes()
        body += struct.pack("<HHIdd", 0x4142, 0, k, places[0] + k * places[1], 0.0)
    table = b"".join(struct.pack("<I", at) for at in (*offsets, *offsets))
    path.write_bytes(head + struct.pack("<II", start, 1) + line + table + body)
    return path


def mib(path, frames):
    """Frames of a Merlin detector, of 16 bits from the lower edge up, each behind a header of its own."""
    ny, nx = frames.shape[1:]
    parts = []
    for k, frame in enumerate(frames):
        words = f"MQ1,{k + 1:06d},00384,01,{nx:04d},{ny:04d},U16,   1x1,01,2024-02-01 10:00:00.{k:06d},0.001000,0,0,0,"
        words += f"1.2E+2,MQ1A,2024-02-01T10:00:00.{k:06d}000Z,1000000ns,12,0"
        parts.append(words.encode().ljust(384, b"\0") + np.asarray(frame, ">u2").tobytes())
    path.write_bytes(b"".join(parts))
    return path


def spd(path, cube):
    """A map of spectra of EDAX: y, x and channel."""
    ny, nx, channels = cube.shape
    head = (
        b"MAPSPECTRA_DATA\0"
        + struct.pack("<8i", 1, nx * ny, nx, ny, channels, 2, 1068, 1)
        + b"image.bmp".ljust(120, b"\0")
    )
    path.write_bytes(head.ljust(1068, b"\0") + np.asarray(cube, "<u2").tobytes())
    return path


def empad(path, stack):
    """A description of EMPAD and the frames in the .raw file that it names, 128 x 128 with two lines more."""
    words = f'<root><raw_file filename="{path.stem}.raw"/><scan_parameters><series_count>{len(stack)}</series_count>'
    path.write_text(f"<?xml version='1.0'?>{words}</scan_parameters></root>")
    frames = np.zeros((len(stack), 130, 128), "<f4")
    frames[:, :128] = stack
    path.with_suffix(".raw").write_bytes(frames.tobytes())
    return path


def dens(path, minutes, celsius):
    """The log of a heating holder."""
    head = "01/02/'24 10:00\tDigiheater 3.1\nR0=1.0\ta=1.0\tb=1.0\tc=1.0\nDelta t 1\n"
    head += "sample\ttime\tTset[C]\tTmeas[C]\tRheat[ohm]\tVheat[V]\tIheat[mA]\tPheat [mW]\tc\n"
    rows = [
        f"{k}\t10:{int(m):02d}:00.0\t0\t{c}\t1\t1\t1\t1\t1\n"
        for k, (m, c) in enumerate(zip(minutes, celsius, strict=True))
    ]
    path.write_text(head + "".join(rows))
    return path


def dm(path, image, scale, offset, unit):
    """A Digital Micrograph image, of version 4 where the name ends so; origins of axes are in pixels, x first."""
    wide = path.suffix == ".dm4"
    sizes = ">q" if wide else ">i"

    def number(*values):
        return b"".join(struct.pack(sizes, value) for value in values)

    def tag(name, kind, value):
        head = struct.pack(">bh", 20 if kind == "group" else 21, len(name)) + name.encode()
        if kind == "group":
            return head + b"\0\0" + (number(0) if wide else b"") + number(len(value)) + b"".join(value)
        head += (number(0) if wide else b"") + b"%%%%"
        if kind == "text":
            letters = value.encode("utf-16-le")
            return head + number(3, 20, 4, len(letters) // 2) + letters
        if kind == "struct":
            return (
                head
                + number(3 + 2 * len(value), 15, 0, len(value), *(0, 3) * len(value))
                + struct.pack(f"<{len(value)}i", *value)
            )
        if kind == "floats":
            return head + number(3, 20, 6, value.size) + np.asarray(value, "<f4").tobytes()
        codes = {"i": 3, "I": 5, "f": 6}
        return head + number(1, codes[kind]) + struct.pack(f"<{kind}", value)

    lines = [
        tag("", "group", [tag("Origin", "f", -o / s), tag("Scale", "f", s), tag("Units", "text", unit)])
        for s, o in zip(scale, offset, strict=True)
    ]
    brightness = tag("Brightness", "group", [tag("Origin", "f", 0), tag("Scale", "f", 1), tag("Units", "text", "")])
    data = [
        tag("Calibrations", "group", [brightness, tag("Dimension", "group", lines)]),
        tag("Data", "floats", image),
        tag("DataType", "I", 2),
        tag("Dimensions", "group", [tag("", "I", n) for n in image.shape[::-1]]),
        tag("PixelDepth", "I", 4),
    ]
    about = [tag("ImageData", "group", data), tag("ImageTags", "group", []), tag("Name", "text", "a")]
    one = tag("", "group", about)
    root = [tag("Window", "struct", (0, 0, 100, 100)), tag("ImageList", "group", [one])]
    head = struct.pack(">I", 4 if wide else 3) + number(0) + struct.pack(">I", 1)
    path.write_bytes(head + b"\0\0" + number(len(root)) + b"".join(root) + bytes(8))
    return path

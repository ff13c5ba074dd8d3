"""Small files byte by byte as the programs of vendors write them."""

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

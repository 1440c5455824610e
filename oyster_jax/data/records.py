"""One clip as bytes and back: a JSON header and raw arrays. No pickle; a clip is read without copying it.

Layout: magic `OYST`, uint32 version, uint32 header length, header (JSON: `meta`, and dtype, shape and offset of each
array), then the arrays, each aligned to 16 bytes. Little endian throughout.
"""

import json
import struct

import numpy as np

from oyster_jax.errors import OysterError

MAGIC = b"OYST"
VERSION = 1
_ALIGN = 16
_DTYPES = ("uint8", "int8", "uint16", "int16", "int32", "int64", "float32", "bool")


def encode(meta: dict, arrays: dict[str, np.ndarray]) -> bytes:
    """Packs JSON-able `meta` and named arrays into one record."""
    index, blobs, offset = {}, [], 0
    for name, array in arrays.items():
        array = np.ascontiguousarray(array)
        if array.dtype.name not in _DTYPES:
            raise OysterError(f"array '{name}' has dtype {array.dtype}, records hold {', '.join(_DTYPES)}")
        index[name] = {"dtype": array.dtype.name, "shape": array.shape, "offset": offset}
        pad = -array.nbytes % _ALIGN
        blobs += [array.tobytes(), b"\0" * pad]
        offset += array.nbytes + pad
    header = json.dumps({"meta": meta, "arrays": index}).encode()
    header += b" " * (-(len(header) + 12) % _ALIGN)
    return b"".join([MAGIC, struct.pack("<II", VERSION, len(header)), header, *blobs])


def decode(record: bytes, where: str = "record") -> tuple[dict, dict[str, np.ndarray]]:
    """Unpacks a record into (meta, arrays); the arrays are read-only views. Raises OysterError naming `where`."""
    if record[:4] != MAGIC or len(record) < 12:
        raise OysterError(f"{where} is not an oyster_jax record; record it again with `oyster record`")
    version, length = struct.unpack("<II", record[4:12])
    if version != VERSION:
        raise OysterError(f"{where} has schema version {version}, this program reads {VERSION}; record it again")
    try:
        header = json.loads(record[12 : 12 + length])
        base = 12 + length
        arrays = {
            name: np.frombuffer(record, item["dtype"], int(np.prod(item["shape"])), base + item["offset"]).reshape(
                item["shape"]
            )
            for name, item in header["arrays"].items()
        }
        return header["meta"], arrays
    except (ValueError, KeyError, TypeError) as e:
        raise OysterError(f"{where} is damaged ({e}); record it again") from None

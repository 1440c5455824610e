"""A record holds exactly what was put in, and whatever is not a record says so."""

import pickle
import struct

import numpy as np
import pytest

from oyster_jax.data import records
from oyster_jax.errors import OysterError

ARRAYS = {
    "video": np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
    "audio": np.array([-32768, 32767], np.int16),
    "odd": np.array([1.5], np.float32)[:0],
    "on": np.array([True, False]),
    "slice": np.arange(12, dtype=np.int32).reshape(3, 4)[:, ::2],
}
META = {"episode": 3, "prompts": ["", "a reef — at night"]}


def test_what_goes_in_comes_out():
    meta, arrays = records.decode(records.encode(META, ARRAYS))
    assert meta == META
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)
    with pytest.raises(ValueError, match="read-only"):
        arrays["video"][0] = 0


@pytest.mark.parametrize("array", [np.array([{"a": 1}], object), np.array(["text"]), np.zeros(1, np.complex64)])
def test_only_plain_numbers_are_stored(array):
    with pytest.raises(OysterError, match="'x' has dtype"):
        records.encode({}, {"x": array})


RECORD = records.encode(META, ARRAYS)


@pytest.mark.parametrize(
    "raw, message",
    [
        (b"", "not an oyster_jax record"),
        (pickle.dumps(META), "not an oyster_jax record"),
        (RECORD[:4], "not an oyster_jax record"),
        (RECORD[:9], "not an oyster_jax record"),
        (RECORD[:40], "damaged"),
        (RECORD[:-17], "damaged"),
        (RECORD[:4] + struct.pack("<I", 2) + RECORD[8:], "schema version 2"),
        (RECORD[:12] + b"\xff" * 16 + RECORD[28:], "damaged"),
        (RECORD.replace(b'"uint8"', b'"uint9"'), "damaged"),
        (RECORD.replace(b'"uint8"', b'"O"    '), "damaged"),
        (RECORD.replace(b"[2, 3, 4]", b"[9, 3, 4]"), "damaged"),
        (RECORD[:12] + b"[]".ljust(struct.unpack("<I", RECORD[8:12])[0]) + RECORD[12:], "damaged"),
    ],
)
def test_anything_else_is_refused_by_name(raw, message):
    with pytest.raises(OysterError, match=message) as error:
        records.decode(raw, "clip 7")
    assert "clip 7" in str(error.value)

"""How many frames a second can be recorded, with sound, to disk? One JSON line for each source.

python benchmarks/record.py [reef ale:breakout vizdoom:basic_audio]
"""

import json
import sys
import tempfile
import time

from oyster_jax.data.recorder import record
from oyster_jax.data.sources import make_source


def measure(name: str, frames: int = 4096) -> dict:
    """Frames a second of recording `frames` frames; compilation and start-up apart, by a first short recording."""
    source = make_source(name)
    with tempfile.TemporaryDirectory() as folder:
        record(source, f"{folder}/warm", 300)
        start = time.perf_counter()
        record(source, f"{folder}/timed", frames)
        seconds = time.perf_counter() - start
    return {"benchmark": "record", "source": name, "frames": frames, "frames_per_second": round(frames / seconds, 1)}


if __name__ == "__main__":
    for name in sys.argv[1:] or ["reef", "ale:breakout", "vizdoom:basic_audio"]:
        print(json.dumps(measure(name)))

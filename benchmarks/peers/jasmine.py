"""How fast are sampling and training beside Jasmine (github.com/p-doom/jasmine), the other Genie in JAX?

Jasmine wants older versions of JAX and Flax than this project: it stands in an environment of its own, beside it.

    git clone https://github.com/p-doom/jasmine ~/jasmine && git -C ~/jasmine checkout 420859b
    python3.11 -m venv ~/jasmine-env
    ~/jasmine-env/bin/pip install jax==0.7.2 flax==0.11.2 optax einops orbax-checkpoint grain dm-pix tyro wandb pillow
    python benchmarks/peers/jasmine.py --jasmine=~/jasmine --jasmine_python=~/jasmine-env/bin/python

The two sides run by turns, so that what else the machine does falls on both. One JSON line for each case: milliseconds
a frame of every measure (`sides.py` says what each is), and in `ratio` the time of each of theirs over that of each of
ours: the median over the turns, the least and the most; above 1, ours is faster. Float32 on the CPU, random weights.

Jasmine makes pictures only. Ours makes a picture and its sound, under a prompt, and pays for all three.
"""

import dataclasses
import itertools
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from absl import app, flags


@dataclass(frozen=True)
class Case:
    """What both sides do: continue `given` frames to a clip of `clip`, or take training steps on whole clips."""

    train: bool = False
    clip: int = 16
    given: int = 8
    patch: int = 8
    size: int = 64
    width: int = 256  # of every transformer: 4 blocks, 4 heads
    codes: int = 1024
    maskgit_steps: int = 8
    temperature: float = 1.0  # 0: the likeliest codes
    batch: int = 1
    kv_heads: int = 0  # of ours; 0: as many as heads, which is all that Jasmine has

    @property
    def frames(self) -> int:
        """Frames that a run makes, or learns from."""
        return self.batch * (self.clip if self.train else self.clip - self.given)


CASES = {
    "sample16": Case(),
    "sample32": Case(clip=32),
    "patch4": Case(patch=4),
    "greedy16": Case(temperature=0.0),
    "grouped16": Case(kv_heads=1),
    "train": Case(train=True, given=0),
}

flags.DEFINE_string("jasmine", "~/jasmine", "a checkout of Jasmine")
flags.DEFINE_string("jasmine_python", "~/jasmine-env/bin/python", "the Python of an environment with what it needs")
flags.DEFINE_multi_enum("only", list(CASES), list(CASES), "cases to time")
flags.DEFINE_integer("turns", 3, "turns of each side", lower_bound=1)
flags.DEFINE_float("seconds", 5, "a turn repeats a measure for this long, and does it once at least")

HERE = Path(__file__).resolve().parent


class Side:
    """A process that has compiled a case and runs it when asked to."""

    def __init__(self, name: str, python: str, root: Path, case: Case):
        self.name = name
        command = [python, str(HERE / "sides.py"), name, str(root), json.dumps(dataclasses.asdict(case))]
        env = os.environ | {"JAX_PLATFORMS": "cpu"}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
        self.about = self._answer() | {"commit": commit(root)}

    def time(self, measure: str, seconds: float) -> list[float]:
        """Seconds of each run of `measure` in one turn."""
        self.process.stdin.write(f"{measure} {seconds}\n")
        self.process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """Lets the process end, and waits for it."""
        self.process.stdin.close()
        self.process.wait()

    def _answer(self):
        if line := self.process.stdout.readline():
            return json.loads(line)
        sys.exit(f"the side of {self.name} ended with exit code {self.process.wait()}; its own words are above")


def commit(root: Path) -> str:
    """The commit of a checkout, and whether it was changed since; empty where it is none."""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude=*"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def compare(case: Case, pythons: dict[str, tuple[str, Path]], turns: int, seconds: float) -> dict:
    """Times both sides by turns. A side compiles, and runs, while the other waits."""
    sides = [Side(name, python, root, case) for name, (python, root) in pythons.items()]
    times = {side.name: {measure: [] for measure in side.about["compile_s"]} for side in sides}
    for _ in range(turns):
        for side in sides:
            for measure, taken in times[side.name].items():
                taken.append(side.time(measure, seconds))
    for side in sides:
        side.close()
    report = {side.name: side.about | {"measured": speeds(times[side.name], case.frames)} for side in sides}
    return report | {"ratio": ratios(times["jasmine"], times["ours"])}


def speeds(times: dict[str, list[list[float]]], frames: int) -> dict:
    """Milliseconds a frame of each measure, the median and the least of all its runs."""

    def describe(turns):
        runs = [1000 * seconds / frames for turn in turns for seconds in turn]
        middle = median(runs)
        each = {"ms_a_frame": middle, "least_ms": min(runs), "frames_a_second": 1000 / middle, "runs": len(runs)}
        return {name: round(x, 2) for name, x in each.items()}

    return {measure: describe(turns) for measure, turns in times.items()}


def ratios(theirs: dict, ours: dict) -> dict:
    """Time of each of their measures over that of each of ours, turn by turn: median, least and most."""
    out = {}
    for (their, slow), (our, fast) in itertools.product(theirs.items(), ours.items()):
        each = [median(a) / median(b) for a, b in zip(slow, fast)]
        out[f"{their} / {our}"] = [round(x, 2) for x in (median(each), min(each), max(each))]
    return out


def main(_):
    v = flags.FLAGS
    checkout, python = Path(v.jasmine).expanduser(), Path(v.jasmine_python).expanduser()
    for flag, path in (("jasmine", checkout / "jasmine/models/genie.py"), ("jasmine_python", python)):
        if not path.exists():
            sys.exit(
                f"no Jasmine: {path} is missing (flag --{flag}); `python {sys.argv[0]} --help` says how to install it"
            )
    pythons = {"jasmine": (str(python), checkout), "ours": (sys.executable, HERE.parents[1])}
    for name in v.only:
        case = CASES[name]
        shape = dataclasses.asdict(case) | {"frames": case.frames, "cores": os.cpu_count()}
        report = {"benchmark": "jasmine", "case": name} | shape | compare(case, pythons, v.turns, v.seconds)
        print(json.dumps(report), flush=True)


if __name__ == "__main__":
    app.run(main)

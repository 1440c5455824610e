"""Commands run in this process, as a user would type them."""

import re
from typing import NamedTuple

import jax
import pytest

from oyster_jax import cli
from oyster_jax.data.recorder import record
from oyster_jax.distributed.mesh import make_mesh
from oyster_jax.models.world_model import save_world

BAR = re.compile(r"\d+(%\||/\d+ \[|frame \[|step \[)")  # a progress bar's line


class Done(NamedTuple):
    code: int
    out: str
    err: list[str]  # lines on stderr, less progress bars


@pytest.fixture(scope="session")
def less_bars():
    """What is on stderr, less the progress bars, as lines."""
    return lambda err: [line for line in re.split(r"[\r\n]+", err) if line.strip() and not BAR.search(line)]


@pytest.fixture
def oyster(capsys, less_bars):
    """Runs `oyster ARGUMENTS…` and returns what came of it."""

    def run(*arguments) -> Done:
        capsys.readouterr()
        code = cli.main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return Done(code, out, less_bars(err))

    return run


@pytest.fixture
def refused(oyster, tmp_path):
    """Runs a command that must be refused with a line that holds `words`, and must not write a file."""

    def check(arguments: list, *words: str):
        before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
        done = oyster(*arguments)
        assert done.code == 2
        assert len(done.err) == 1, done.err
        line = done.err[0]
        assert line.startswith("oyster") and ": " in line and "Error" not in line.split(": ", 1)[1][:20]
        for word in words:
            assert word in line
        assert "Traceback" not in line and len(line) < 600
        assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()} == before

    return check


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
    """Training on one of the eight pretended devices, as on a user's machine."""
    alone = lambda cfg: make_mesh(cfg, jax.devices()[:1])
    monkeypatch.setattr("oyster_jax.training.train.make_mesh", alone)


@pytest.fixture(scope="session")
def long_data(echo, tmp_path_factory):
    """Like `data_folder`, in clips as long as an evaluation wants them."""
    folder = tmp_path_factory.mktemp("data") / "long"
    record(echo(), folder, frames=480, clip_frames=40)
    return folder


@pytest.fixture(scope="session")
def world_folder(world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("worlds") / "echo"
    save_world(world, folder)
    return folder

"""Ctrl-C ends with 130 and keeps what was finished, a full disk with 2; the same command then goes on to its end."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from oyster_jax import cli
from oyster_jax.data.dataset import load_info
from oyster_jax.models.world_model import load

TINY = f"--config={Path(__file__).parents[2] / 'configs/tiny.py'}"

# Runs a command in a fresh process. `record` plays a source that hands out 60 episodes at once and then takes a rest.
RUN = """
import importlib.util, os, resource, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent in the background hands it down ignored
from oyster_jax import cli
from oyster_jax.data import sources
conftest, limit, *arguments = sys.argv[1:]
spec = importlib.util.spec_from_file_location("conftest", conftest)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
os.environ["XLA_FLAGS"] = os.environ["XLA_FLAGS"].replace("device_count=8", "device_count=1")
class Tired(module.EchoSource):
    def episode(self, index, clip_frames):
        if index == 60:
            print("resting", flush=True)
            time.sleep(100)
        yield from super().episode(index, clip_frames)
sources.make_source = lambda name, options: Tired()
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
if int(limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.RLIM_INFINITY))
sys.argv = ["oyster", *arguments]
sys.exit(cli.main())
"""


@pytest.fixture
def begin(echo):
    """Starts a command in a process of its own, with one device as on a user's machine."""
    started = []

    def begin(*arguments, limit=0):
        conftest = Path(sys.modules[echo.__module__].__file__)
        command = [sys.executable, "-c", RUN, str(conftest), str(limit), *map(str, arguments)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def press_ctrl_c(process) -> str:
    """Interrupts, and returns what the process then says on stderr."""
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=100)
    assert process.returncode == 130, err
    return err


def test_ctrl_c_during_record(begin, tmp_path, echo, monkeypatch, less_bars):
    command = ["record", "--source=reef", f"--out={tmp_path / 'd'}", "--frames=2600"]
    process = begin(*command)
    assert process.stdout.readline() == "resting\n"
    (said,) = less_bars(press_ctrl_c(process))
    assert "interrupted" in said and "go on from where they were" in said
    kept = load_info(tmp_path / "d")
    assert kept.frames == 2080  # a whole shard: 52 episodes of 40 frames
    assert sorted(p.name for p in (tmp_path / "d").iterdir()) == ["dataset.json", "shard-00000.array_record"]
    monkeypatch.setattr("oyster_jax.data.sources.make_source", lambda name, options: echo())
    assert cli.main(command) == 0
    after = load_info(tmp_path / "d")
    assert after.frames == 2600 and after.shards[0] == kept.shards[0]


STEPS = 400


@pytest.fixture(scope="module")
def training(data_folder):
    """A command that trains one stage for about as long as it takes to look."""
    stage = {"steps": STEPS, "save_every": 20, "eval_every": STEPS, "log_every": 5}
    return [
        "train", TINY, f"--data={data_folder}", "--stage=audio_tokenizer",
        *[f"--config.train.audio_tokenizer.{k}={v}" for k, v in stage.items()],
    ]  # fmt: skip


def steps(workdir) -> list[int]:
    """The steps of which there is a checkpoint."""
    return sorted(int(p.name) for p in (workdir / "checkpoints" / "audio_tokenizer").glob("*") if p.name.isdecimal())


def test_ctrl_c_during_train(begin, tmp_path, training, less_bars, capsys):
    export = [a for a in training if not a.startswith("--stage")] + [f"--workdir={tmp_path}", "--export"]
    assert cli.main([*export, "--stage=audio_tokenizer"]) == 2 and "leave out --stage" in capsys.readouterr().err
    assert cli.main(export) == 2
    assert "nothing to export" in capsys.readouterr().err and not (tmp_path / "world").exists()
    process = begin(*training, f"--workdir={tmp_path}")
    deadline = time.monotonic() + 100
    while not (tmp_path / "checkpoints").exists() or not steps(tmp_path):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    seen = steps(tmp_path)[-1]
    (said,) = less_bars(press_ctrl_c(process))
    assert "interrupted" in said and "go on from where they were" in said
    kept = steps(tmp_path)[-1]
    assert seen <= kept < STEPS
    assert not (tmp_path / "world").exists()
    assert cli.main(export) == 0
    assert set(load(tmp_path / "world").params) == {"audio_tokenizer"} and steps(tmp_path)[-1] == kept
    assert cli.main([*training, f"--workdir={tmp_path}"]) == 0
    assert f"{kept}/{STEPS}" in capsys.readouterr().err  # the bar starts where it stopped
    assert steps(tmp_path)[-1] == STEPS
    assert set(load(tmp_path / "world").params) == {"audio_tokenizer"}


@pytest.mark.parametrize("limit", [2_000, 60_000])
def test_a_full_disk_during_train(begin, tmp_path, training, less_bars, limit):
    """In the log already, or in a checkpoint. What was written before stays, and once there is room it goes on."""
    short = "--config.train.audio_tokenizer.steps=20"
    process = begin(*training, short, f"--workdir={tmp_path}", limit=limit)
    _, err = process.communicate(timeout=100)
    assert process.returncode == 2, err
    assert [line[:40] for line in less_bars(err)] == ["oyster train: the disk is full (or a fil"]
    # Whether a checkpoint is over the limit or only the export after it, a world is never there by half.
    assert not any((tmp_path / "world").glob("*"))
    assert cli.main([*training, short, f"--workdir={tmp_path}"]) == 0
    assert set(load(tmp_path / "world").params) == {"audio_tokenizer"}


def test_a_full_disk_during_rollout(begin, tmp_path, world_folder, less_bars):
    process = begin("rollout", f"--world={world_folder}", f"--out={tmp_path / 'world.mp4'}", "--seconds=4", limit=4_000)
    _, err = process.communicate(timeout=100)
    assert process.returncode == 2, err
    (said,) = less_bars(err)
    assert said == f"oyster rollout: {tmp_path / 'world.mp4'} could not be written (File too large)"
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_during_evaluate(begin, tmp_path, world_folder, long_data, less_bars):
    flags = [f"--world={world_folder}", f"--data={long_data}", f"--out={tmp_path}", "--starts=2", "--frames=32"]
    process = begin("evaluate", *flags, limit=4_000)
    _, err = process.communicate(timeout=100)
    assert process.returncode == 2, err
    assert less_bars(err)[-1].startswith("oyster evaluate: the disk is full")
    assert not (tmp_path / "report.json").exists()

"""What `dataset.json` lists can be trusted, whatever ended the recording; what cannot be read says so."""

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from oyster_jax.data.dataset import DatasetInfo, DatasetWriter, clip_record, load_info
from oyster_jax.data.pipeline import open_clips
from oyster_jax.data.recorder import record
from oyster_jax.errors import OysterError


def clips(folder):
    """Every clip of a folder as comparable values."""
    reader = open_clips(folder)
    out = []
    for i in range(len(reader)):
        meta, arrays = reader[i]
        out.append((int(reader.episodes[i]), meta, {k: v.tolist() for k, v in arrays.items()}))
    return out


def shards(folder):
    return sorted(p.name for p in Path(folder).iterdir() if p.name != "dataset.json")


# ---------------------------------------------------------------------------- recording


def test_two_parts_equal_one_recording(tmp_path, echo):
    record(echo(), tmp_path / "once", frames=160, clip_frames=16)
    record(echo(), tmp_path / "twice", frames=80, clip_frames=16)
    info = record(echo(), tmp_path / "twice", frames=160, clip_frames=16)
    assert info.frames == 160 and len(info.shards) == 2
    assert clips(tmp_path / "once") == clips(tmp_path / "twice")
    assert record(echo(), tmp_path / "twice", frames=160, clip_frames=16) == info  # nothing left to do


def test_a_recording_that_was_interrupted_goes_on(tmp_path, echo):
    """Frames are asked for that do not fill the last episode; the frames of an unlisted episode are played again."""
    record(echo(), tmp_path / "once", frames=150)
    record(echo(), tmp_path / "parts", frames=80)
    with pytest.raises(KeyboardInterrupt):
        record(echo(stops=3), tmp_path / "parts", frames=150)
    assert load_info(tmp_path / "parts").frames == 80 and shards(tmp_path / "parts") == ["shard-00000.array_record"]
    (tmp_path / "parts" / ".shard-00001.tmp").write_bytes(b"what a power cut leaves")
    assert record(echo(), tmp_path / "parts", frames=150).frames == 150
    assert clips(tmp_path / "once") == clips(tmp_path / "parts")
    assert shards(tmp_path / "parts") == ["shard-00000.array_record", "shard-00001.array_record"]


def test_what_is_recorded_of_a_film_is_kept_between_its_clips(tmp_path, echo, monkeypatch):
    """Of a game it would be kept after an episode only."""
    monkeypatch.setattr(DatasetWriter.__init__, "__defaults__", (30,))
    record(echo(episodes=2), tmp_path / "once", frames=None, clip_frames=16)
    with monkeypatch.context() as power:
        power.setattr("oyster_jax.data.recorder.clip_record", cut_off_after(5))
        with pytest.raises(KeyboardInterrupt):
            record(echo(episodes=2), tmp_path / "parts", frames=None, clip_frames=16)
    assert load_info(tmp_path / "parts").frames == 72  # of the second film the first 32
    record(echo(episodes=2), tmp_path / "parts", frames=None, clip_frames=16)
    assert clips(tmp_path / "once") == clips(tmp_path / "parts")


def cut_off_after(count):
    """`clip_record`, that is interrupted when it has made `count` records."""
    made = iter(range(count))

    def make(*clip):
        if next(made, None) is None:
            raise KeyboardInterrupt
        return clip_record(*clip)

    return make


def test_a_recorder_that_was_killed_before_its_first_shard_is_forgotten(tmp_path, echo):
    (tmp_path / ".shard-00000.tmp").write_bytes(b"what a power cut leaves")
    assert record(echo(), tmp_path, frames=40).frames == 40
    assert shards(tmp_path) == ["shard-00000.array_record"]


def test_a_shard_that_cannot_be_listed_is_no_obstacle(tmp_path, echo):
    (tmp_path / "dataset.json.tmp").mkdir()  # nothing can be written there
    with pytest.raises(IsADirectoryError):
        record(echo(), tmp_path, frames=40)
    (tmp_path / "dataset.json.tmp").rmdir()
    assert os.listdir(tmp_path) == []
    assert record(echo(), tmp_path, frames=40).frames == 40


def test_an_interrupted_writer_leaves_whole_shards_only(tmp_path, echo):
    source = echo()
    with (
        pytest.raises(RuntimeError, match="the cat"),
        DatasetWriter(tmp_path / "d", DatasetInfo("echo", source.media, source.actions, 0), shard_frames=70) as writer,
    ):
        for episode in range(5):
            for clip in source.episode(episode, 16):
                writer.add(clip_record(clip, episode, 0), len(clip.video), episode)
            writer.close_full()
        raise RuntimeError("the cat")
    info = load_info(tmp_path / "d")
    assert [s.episodes for s in info.shards] == [(0, 0, 0, 1, 1, 1), (2, 2, 2, 3, 3, 3)] and info.next_episode == 4
    assert shards(tmp_path / "d") == [s.file for s in info.shards]
    assert len(clips(tmp_path / "d")) == 12


def test_a_source_that_ends_is_recorded_to_its_end(tmp_path, echo):
    assert record(echo(episodes=2), tmp_path / "d", frames=None).frames == 80
    with pytest.raises(OysterError, match="never ends"):
        record(echo(), tmp_path / "e", frames=None)


@pytest.mark.parametrize("what", ["name", "seed", "media", "recipe"])
def test_another_recording_is_not_mixed_in(tmp_path, data_folder, echo, config, what):
    folder = shutil.copytree(data_folder, tmp_path / "d")
    source = echo()
    if what == "name":
        source.name = "other"
    if what == "recipe":
        source.recipe = "policy random"
    if what == "media":
        source.media = type(config.media)(config.media.fps, config.media.sample_rate)
    with pytest.raises(OysterError, match="choose another --out"):
        record(source, folder, frames=999, seed=int(what == "seed"))
    assert load_info(folder) == load_info(data_folder)


def test_a_folder_of_something_else_is_left_alone(tmp_path, echo):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(OysterError, match="not empty"):
        record(echo(), tmp_path, frames=40)
    assert os.listdir(tmp_path) == ["thesis.tex"]


FULL_DISK = """
import resource, sys
from oyster_jax import cli
from oyster_jax.data import sources
import importlib.util
spec = importlib.util.spec_from_file_location("conftest", sys.argv[1])
conftest = importlib.util.module_from_spec(spec)
spec.loader.exec_module(conftest)
sources.make_source = lambda name, options: conftest.EchoSource()
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
sys.exit(cli.main(["record", "--source=reef", "--out=" + sys.argv[2], "--frames=400", "--clip_frames=8"]))
"""


@pytest.mark.parametrize("limit", [100, 20_000])
def test_a_full_disk_is_one_clear_line_and_loses_nothing(tmp_path, echo, limit):
    """A limit on the size of files is the full disk that every machine can have."""
    folder = tmp_path / "d"
    before = record(echo(), folder, frames=40, clip_frames=8)
    conftest = Path(sys.modules[echo.__module__].__file__)
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(conftest), str(folder), str(limit)],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)),
        timeout=120,
    )
    assert done.returncode == 2, done.stderr
    assert "disk" in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
    assert load_info(folder) == before and len(clips(folder)) == before.clips
    assert shards(folder) == ["shard-00000.array_record"]
    assert record(echo(), folder, frames=400, clip_frames=8).frames == 400  # once there is room


# ---------------------------------------------------------------------------- reading


def damage_shard(folder):
    with open(folder / "shard-00000.array_record", "r+b") as f:
        f.truncate(1000)


def flip_shard(folder):
    path = folder / "shard-00000.array_record"
    path.write_bytes(b"\0" * path.stat().st_size)


def edit(**fields):
    def change(folder):
        path = folder / "dataset.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))

    return change


@pytest.mark.parametrize(
    "change, message",
    [
        (shutil.rmtree, "does not exist"),
        (lambda d: [p.unlink() for p in d.iterdir()], "holds no dataset.json"),
        (damage_shard, "cut short or foreign"),
        (flip_shard, "not a readable ArrayRecord"),
        (lambda d: (d / "shard-00000.array_record").unlink(), "missing"),
        (lambda d: (d / "dataset.json").write_text("{"), "not readable JSON"),
        (lambda d: (d / "dataset.json").write_bytes(b"\xff\xfe\0"), "not readable JSON"),
        (lambda d: (d / "dataset.json").write_text("[1]"), "not a data set of schema 1"),
        (lambda d: (d / "dataset.json").write_text('{"name": "a package"}'), "not a data set of schema 1"),
        (edit(schema=2), "not a data set of schema 1"),
        (edit(colour="red"), "no field colour"),
        (edit(shards="many"), "shards must be a list"),
        (edit(shards=[]), "holds no clips"),
    ],
)
def test_what_cannot_be_read_says_so(tmp_path, data_folder, change, message):
    folder = shutil.copytree(data_folder, tmp_path / "d")
    change(folder)
    with pytest.raises(OysterError, match=message) as error:
        open_clips(folder)
    assert str(folder) in str(error.value)


def test_a_shard_with_fewer_clips_than_listed_is_refused(tmp_path, data_folder):
    folder = shutil.copytree(data_folder, tmp_path / "d")
    data = json.loads((folder / "dataset.json").read_text())
    data["shards"][0]["frames"] += [16]
    data["shards"][0]["episodes"] += [12]
    edit(**data)(folder)
    with pytest.raises(OysterError, match="holds 36 clips where"):
        open_clips(folder)


def test_truth_and_sound_survive_the_disk(data_folder, echo):
    reader = open_clips(data_folder)
    meta, arrays = reader[4]  # the second clip of episode 1
    raw = list(echo().episode(1, 16))[1]
    assert meta == {"episode": 1, "start": 16, "prompts": list(raw.prompts)}
    np.testing.assert_array_equal(arrays["video"], raw.video)
    np.testing.assert_array_equal(arrays["action"], raw.action)
    np.testing.assert_array_equal(arrays["truth/time"], raw.truth["time"])
    np.testing.assert_allclose(arrays["audio"] / 32767, raw.audio, atol=1 / 32767)

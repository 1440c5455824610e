"""A user's mistake is exit code 2 and one line that names the thing; never a traceback, nothing half-written."""

import json
import shutil
import wave
from pathlib import Path

import numpy as np
import pytest

from oyster_jax.media import write_video

TINY = f"--config={Path(__file__).parents[2] / 'configs/tiny.py'}"


# ---------------------------------------------------------------------------- the command line itself


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["recrod"], ["'recrod'", "record, train, rollout, evaluate"]),
        (["--version"], ["'--version'"]),
        (["record", "--sauce=reef"], ["sauce"]),
        (["record", "reef"], ["'reef'", "--name=value"]),
        (["record", "--source=reef", "--out=x", "--frames"], ["frames"]),
        (["record"], ["--source", "--out"]),
        (["train"], ["--config", "--data", "--workdir"]),
        (["rollout"], ["--world"]),
        (["evaluate", "--world=x"], ["--data", "--out"]),
        (["evaluate", "--world=x", "--out=y", "--data=z", "--match=3"], ["--data and --match"]),
        (["evaluate", "--world=x", "--out=y", "--data=z", "--idle"], ["--idle", "--data"]),
        (
            ["evaluate", "--world=x", "--out=y", "--direct", "--worlds=3", "--idle"],
            ["--worlds and --idle", "--direct"],
        ),
    ],
)
def test_a_command_line_that_does_not_fit(refused, arguments, words):
    refused(arguments, *words)


def test_flags_of_an_earlier_command_are_forgotten(refused, oyster, tmp_path):
    """Also a config's overrides, and flags that can be given many times."""
    data = tmp_path / "none"
    refused(
        ["train", TINY, "--config.audio_tokenizer.width=0", f"--data={data}", f"--workdir={data}"], "must be positive"
    )
    refused(["train", TINY, f"--data={data}", f"--workdir={data}"], "does not exist")
    refused(["rollout", "--world=nope", "--event=1:x"], "nope")
    refused(["rollout", "--event=1:y"], "--world is needed")
    from oyster_jax.cli import rollout

    assert rollout.FLAGS.event == ["1:y"] and rollout.FLAGS.world is None


# ---------------------------------------------------------------------------- record


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--source=raef"], ["'raef'", "ale:GAME"]),
        (["--source=ale:brekout"], ["brekout", "breakout"]),
        (["--source=vizdoom:basic_adio"], ["basic_adio", "basic_audio"]),
        (["--source=reef:deep"], ["'reef:deep'", "reef:open"]),
        (["--source=reef"], ["how many frames"]),
        (["--source=reef", "--frames=0"], ["frames"]),
        (["--source=reef", "--frames=many"], ["frames", "many"]),
        (["--source=reef", "--frames=9", "--seed=-1"], ["seed"]),
        (["--source=reef", "--frames=9", "--policy=shark"], ["shark", "wander"]),
        (["--source=reef", "--frames=9", "--size=50"], ["size", "50"]),
        (["--source=reef", "--frames=9", "--clip_frames=1"], ["clip_frames"]),
        (["--source=reef", "--frames=9", "--random_share=1.5"], ["random_share"]),
        (["--source=vizdoom:basic_audio", "--frames=9", "--random_share=0.5"], ["random_share"]),
        (["--source=video:*.mp4", "--random_share=0.5"], ["random_share"]),
        (["--source=video:*.mp4"], ["*.mp4"]),
    ],
)
def test_record(refused, tmp_path, arguments, words):
    refused(["record", *arguments, f"--out={tmp_path / 'out'}"], *words)
    assert not (tmp_path / "out").exists()


@pytest.fixture
def film(tmp_path):
    """A film of 20 frames."""
    path = tmp_path / "film.mp4"
    write_video(path, np.zeros((20, 32, 32, 3), np.uint8), np.zeros((20, 1024), np.float32), 15, 15360)
    return path


def no_film(path):
    path.write_bytes(b"not a film " * 100)


def half_a_film(path):
    path.write_bytes(path.read_bytes()[:700])


def sound_only(path):
    with wave.open(str(path), "wb") as w:
        w.setparams((1, 2, 8000, 0, "NONE", ""))
        w.writeframes(b"\0" * 16000)


@pytest.mark.parametrize("spoil", [no_film, half_a_film, sound_only, lambda p: p.write_bytes(b"")])
def test_a_video_that_is_not_a_video(refused, film, tmp_path, spoil):
    spoil(film)
    refused(["record", f"--source=video:{tmp_path}/*.mp4", f"--out={tmp_path / 'out'}"], str(film))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "caption, word",
    [
        (b"x" * 257, "257 bytes"),
        ("ä".encode("latin-1") * 9, "UTF-8"),
        (b"0 a\n0 b", "grow"),
        (b"0 a\nlater b", "later"),
    ],
)
def test_a_caption_that_does_not_fit(refused, film, tmp_path, caption, word):
    film.with_suffix(".txt").write_bytes(caption)
    refused(["record", f"--source=video:{film}", f"--out={tmp_path / 'out'}"], "film.txt", word)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "flag, word", [("--fps=0", "0"), ("--fps=-3", "fps"), ("--fps=fast", "fast"), ("--sample_rate=1001", "1001")]
)
def test_rates_that_cannot_be(refused, film, tmp_path, flag, word):
    refused(["record", f"--source=video:{film}", f"--out={tmp_path / 'out'}", flag], word)


@pytest.mark.parametrize("command", ["record --source=reef --frames=9 --out", "train --workdir", "evaluate --out"])
def test_a_file_where_a_folder_should_be(refused, tmp_path, command, long_data, world_folder):
    (tmp_path / "file").write_text("precious")
    name, *flags = command.split()
    flags += {
        "train": [TINY, f"--data={long_data}"],
        "evaluate": [f"--data={long_data}", f"--world={world_folder}"],
    }.get(name, [])
    position = next(i for i, f in enumerate(flags) if f in ("--out", "--workdir"))
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        refused([name, *flags[:position], f"{flags[position]}={out}", *flags[position + 1 :]], str(tmp_path / "file"))


# ---------------------------------------------------------------------------- data


def truncate(folder):
    shard = folder / "shard-00000.array_record"
    shard.write_bytes(shard.read_bytes()[:-500])


def foreign_shard(folder):
    """A shard of the right size and name, with records of something else in it."""
    from array_record.python.array_record_module import ArrayRecordWriter

    path = folder / "shard-00000.array_record"
    writer = ArrayRecordWriter(str(path), "group_size:1")
    info = json.loads((folder / "dataset.json").read_text())
    for _ in info["shards"][0]["frames"]:
        writer.write(b"somebody else's record")
    writer.close()
    info["shards"][0]["bytes"] = path.stat().st_size
    (folder / "dataset.json").write_text(json.dumps(info))


@pytest.mark.parametrize("command", ["train", "evaluate", "rollout"])
@pytest.mark.parametrize(
    "spoil, word",
    [
        (shutil.rmtree, "does not exist"),
        (lambda d: [p.unlink() for p in d.iterdir()], "dataset.json"),
        (lambda d: (d / "shard-00000.array_record").unlink(), "missing"),
        (truncate, "cut short"),
        (foreign_shard, "not an oyster_jax record"),
        (lambda d: (d / "dataset.json").write_text("{}"), "schema"),
    ],
)
def test_data_that_cannot_be_read(refused, tmp_path, long_data, world_folder, command, spoil, word):
    data = shutil.copytree(long_data, tmp_path / "data")
    spoil(data)
    flags = {
        "train": [TINY, f"--workdir={tmp_path / 'run'}", "--stage=video_tokenizer"],
        "evaluate": [f"--world={world_folder}", f"--out={tmp_path / 'report'}"],
        "rollout": [f"--world={world_folder}", f"--out={tmp_path / 'world.mp4'}"],
    }[command]
    refused([command, f"--data={data}", *flags], word)

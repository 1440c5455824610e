"""A film of a world that is not there, or that cannot be asked for, is refused in one line before any work."""

import json
import shutil

import pytest


def edit(**fields):
    def change(folder):
        path = folder / "world.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))

    return change


def flip(folder):
    path = folder / "params.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-9] ^= 4
    path.write_bytes(raw)


@pytest.mark.parametrize("command", ["rollout", "evaluate"])
@pytest.mark.parametrize(
    "spoil, words",
    [
        (shutil.rmtree, ["no world at", "oyster train"]),
        (lambda d: (d / "world.json").unlink(), ["no world at"]),
        (flip, ["params.safetensors", "hash"]),
        (edit(schema=7), ["schema 6"]),
        (edit(config={}), ["world.json"]),
    ],
)
def test_a_world_that_is_none(refused, tmp_path, world_folder, long_data, command, spoil, words):
    world = shutil.copytree(world_folder, tmp_path / "world")
    spoil(world)
    flags = {"rollout": ["--out=x.mp4"], "evaluate": [f"--data={long_data}", f"--out={tmp_path / 'report'}"]}[command]
    refused([command, f"--world={world}", *flags], str(world), *words)


@pytest.mark.parametrize(
    "flag, words",
    [
        ("--actions=left/on*3,right/loud", ["'call'", "'loud'", "off, on"]),
        ("--actions=left", ["'left'", "move/call"]),
        ("--actions=3/0", ["'move'", "'3'"]),
        ("--actions=left/on*", ["ACTION*FRAMES"]),
        (f"--prompt={'x' * 257}", ["257 bytes", "256"]),
        (f"--prompt={'ü' * 129}", ["258 bytes"]),
        ("--prompt=\udcff\udcfe", ["UTF-8"]),
        (f"--event=1:{'x' * 257}", ["257 bytes"]),
        ("--event=1:\udcff", ["UTF-8"]),
        ("--event=night", ["'night'", "SECONDS:PROMPT"]),
        ("--event=soon:night", ["SECONDS:PROMPT"]),
        ("--event=-1:night", ["SECONDS:PROMPT"]),
        ("--event=inf:night", ["SECONDS:PROMPT"]),
        ("--event=nan:night", ["SECONDS:PROMPT"]),
        ("--event=99:night", ["after the end", "--seconds"]),
        ("--prompt_guidance=nan", ["guidance"]),
        ("--action_guidance=inf", ["guidance"]),
        ("--seconds=0", ["seconds"]),
        ("--seconds=nan", ["--seconds"]),
        ("--seed=-1", ["seed"]),
        ("--video_steps=0", ["video_steps"]),
        ("--temperature=-1", ["temperature"]),
        ("--temperature=nan", ["temperature"]),
        ("--image=nowhere.png", ["nowhere.png"]),
        ("--image=README.md", ["README.md", "not a picture"]),
        ("--image=tests", ["tests"]),
        ("--data=nowhere", ["nowhere", "does not exist"]),
    ],
)
def test_a_wish_that_cannot_be(refused, tmp_path, world_folder, flag, words):
    refused(["rollout", f"--world={world_folder}", f"--out={tmp_path / 'world.mp4'}", flag], *words)


def test_an_out_that_cannot_be_written(refused, tmp_path, world_folder):
    (tmp_path / "file").write_text("precious")
    for out in (tmp_path / "missing" / "world.mp4", tmp_path / "file" / "world.mp4", tmp_path):
        refused(["rollout", f"--world={world_folder}", f"--out={out}"], str(out))


def test_data_of_another_kind(refused, tmp_path, oyster, world_folder):
    """Other sizes and other actions than the world's, for a film and for an evaluation."""
    data = tmp_path / "reef"
    assert oyster("record", "--source=reef", "--frames=40", f"--out={data}").code == 0
    refused(["rollout", f"--world={world_folder}", f"--data={data}", f"--out={tmp_path / 'x.mp4'}"], str(data), "64")
    refused(
        ["evaluate", f"--world={world_folder}", f"--data={data}", f"--out={tmp_path / 'r'}"], str(data), "other sizes"
    )


def test_clips_too_short_to_begin_with_or_to_judge(refused, tmp_path, world_folder, data_folder, echo):
    from oyster_jax.data.recorder import record

    record(echo(frames=3), tmp_path / "short", frames=30)
    here = [f"--world={world_folder}"]
    refused(["rollout", *here, f"--data={tmp_path / 'short'}", f"--out={tmp_path / 'x.mp4'}"], "4 frames", "short")
    refused(["evaluate", *here, f"--data={data_folder}", f"--out={tmp_path / 'r'}"], "32 frames")
    refused(["evaluate", *here, "--match=1", f"--out={tmp_path / 'r'}"], "other sizes", "the reef")


@pytest.mark.parametrize("flag", [f"--prompt={'x' * 257}", "--prompt=night", "--image=start.png"])
def test_a_clip_brings_its_own_beginning(refused, tmp_path, world_folder, long_data, flag):
    out = f"--out={tmp_path / 'world.mp4'}"
    refused(["rollout", f"--world={world_folder}", f"--data={long_data}", out, flag], "--data", "--prompt", "--image")

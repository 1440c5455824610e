"""What a command passes on: help, a script's actions frame by frame, events at their time, clips held out."""

import numpy as np
import pytest

from oyster_jax.cli.rollout import held_out_clip
from oyster_jax.data.recorder import record


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize("command", ["record", "train", "rollout", "evaluate"])
def test_help_shows_examples_and_every_flag(oyster, command, flag):
    from importlib import import_module

    done = oyster(command, "--no_such_flag", flag)
    assert done.code == 0 and not done.err
    assert done.out.count(f"\n  oyster {command} --") >= 2  # examples
    for name in import_module(f"oyster_jax.cli.{command}").FLAGS:
        assert f"--{name}" in done.out or f"--[no]{name}" in done.out


@pytest.mark.parametrize("arguments", [[], ["--help"], ["help"]])
def test_without_a_command_the_commands_are_shown(oyster, arguments):
    done = oyster(*arguments)
    assert done.code == 0 and not done.err
    assert all(f"\n  {c} " in done.out for c in ("record", "train", "rollout", "evaluate"))


@pytest.fixture
def filmed(monkeypatch):
    """What `oyster rollout` asks to be filmed; the film itself is black."""
    asked = {}

    def film(world, begin, actions, events, sampling, progress):
        media = world.config.media
        asked.update(actions=actions, events=list(events), sampling=sampling, begin=begin)
        frames = len(actions) + 1
        return (
            np.zeros((frames, media.height, media.width, 3), np.uint8),
            np.zeros((frames, media.samples_per_frame), np.float32),
        )

    monkeypatch.setattr("oyster_jax.sampling.film.film", film)
    return asked


def test_a_rollout_does_what_it_is_told(oyster, filmed, tmp_path, world_folder):
    """Two seconds at 7.5 frames are 15 frames, so 14 actions, from the script's first on: action[t] leads to t+1."""
    out = tmp_path / "world.mp4"
    script, steps = "--actions=left/on,right/off*3,stay/off*20", ["--video_steps=1", "--temperature=0.5"]
    events = ["--event=0.4:night", "--event=1:day"]
    done = oyster("rollout", f"--world={world_folder}", f"--out={out}", "--seconds=2", script, *events, *steps)
    assert done.code == 0 and not done.err and out.stat().st_size > 500
    assert filmed["actions"].tolist() == [[1, 1], *[[2, 0]] * 3, *[[0, 0]] * 10]
    assert filmed["events"] == [(3, "night"), (8, "day")]
    assert (filmed["sampling"].video_steps, filmed["sampling"].randomness.temperature) == (1, 0.5)


def test_a_rollout_begins_with_a_clip_that_was_held_out(tmp_path, echo, told, world):
    """Episode 9 of 12 is; its second clip is too short to begin with, and clips of other episodes are none of these."""
    record(echo(frames=18), tmp_path / "d", frames=12 * 18, clip_frames=16)
    starts = set()
    for seed in range(8):
        clip = held_out_clip(tmp_path / "d", world, seed)
        action, episode, t, _ = told(np.asarray(clip.video[0]))
        assert (episode == 9).all() and len(t) == world.config.dynamics.transformer.window
        np.testing.assert_array_equal(t, t[0] + np.arange(len(t)))
        np.testing.assert_array_equal(clip.action[0, :-1], action[1:])
        np.testing.assert_allclose(clip.audio[0, :, 0], t / 100, atol=1e-4)
        starts.add(int(t[0]))
    assert len(starts) > 2

"""A config that cannot be, or that is not the one a run was begun with, is refused in one line before any work."""

import json
from pathlib import Path

import pytest

TINY = f"--config={Path(__file__).parents[2] / 'configs/tiny.py'}"


@pytest.mark.parametrize(
    "overrides, words",
    [
        (["--config.foo=1"], ["no field foo", "dynamics"]),
        (["--config.dynamics.nope=2"], ["config.dynamics", "no field nope", "transformer"]),
        (["--config.dynamics.transformer.widht=2"], ["config.dynamics.transformer", "widht", "width"]),
        (["--config.seed=two"], ["--config.seed", "two"]),
        (["--config.seed=-1"], ["seed", "-1"]),
        (["--config.train.dynamics.steps=1.5"], ["steps", "1.5"]),
        (["--config.dynamics.cotrain_latent=maybe"], ["cotrain_latent", "maybe"]),
        (["--config.dynamics=3"], ["--config.dynamics", "3"]),
        (["--config.video_tokenizer.quantizer.levels=8,x"], ["levels", "8,x"]),
        (["--config.dynamics.actions=guessed"], ["dynamics.actions", "'guessed'", "'latent'"]),
        (["--config.dynamics.transformer.dtype=float16"], ["float16", "bfloat16"]),
        (["--config.video_tokenizer.patch=7"], ["patch 7"]),
        (["--config.audio_tokenizer.tokens=7"], ["7 audio tokens"]),
        (["--config.dynamics.transformer.heads=3"], ["width 32", "heads (3)"]),
        (["--config.dynamics.transformer.kv_heads=4"], ["heads 2", "kv_heads 4"]),
        (["--config.dynamics.text.heads=5"], ["text width 32", "heads 5"]),
        (["--config.dynamics.transformer.window=1"], ["window"]),
        (["--config.train.dynamics.steps=0"], ["steps"]),
        (["--config.train.dynamics.clip_norm=0"], ["clip_norm"]),
        (["--config.train.dynamics.weight_decay=-1"], ["weight_decay"]),
        (["--config.sampling.guidance.prompt=nan"], ["guidance"]),
        (["--config.sampling.randomness.temperature=-1"], ["temperature"]),
        (["--config.mesh.data=3"], ["mesh", "3"]),
        (["--stage=dynamic"], ["no stage dynamic", "video_tokenizer"]),
        (["--config.train.video_tokenizer.frames=41"], ["41 frames", "longest: 40"]),
        (["--stage=dynamics"], ["no trained video_tokenizer"]),
    ],
)
def test_a_field_that_does_not_fit(refused, tmp_path, long_data, overrides, words):
    refused(["train", TINY, f"--data={long_data}", f"--workdir={tmp_path / 'run'}", *overrides], *words)


SIZES = "import ml_collections\nfrom oyster_jax.config import *\n"


@pytest.mark.parametrize("overrides", [[], ["--config.seed=3"]])
@pytest.mark.parametrize(
    "text, words",
    [
        (None, ["there is no such file"]),
        ("def get_config(:", ["SyntaxError"]),
        ("import nothing_of_this_name", ["nothing_of_this_name"]),
        ("x = 1", ["get_config"]),
        ("def get_config(): return 1 / 0", ["ZeroDivisionError"]),
        ("def get_config(): return 3", []),
        (SIZES + "def get_config(): return TransformerConfig(width=33)", ["width 33", "heads"]),
    ],
)
def test_a_config_file_that_is_none(refused, tmp_path, long_data, text, words, overrides):
    file = tmp_path / "mine.py"
    if text is not None:
        file.write_text(text)
    named = [] if "heads" in words else [str(file)]
    refused(
        ["train", f"--config={file}", *overrides, f"--data={long_data}", f"--workdir={tmp_path / 'run'}"],
        *words,
        *named,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return tmp_path_factory.mktemp("run")


def train(trained, long_data, *more):
    steps = ["--config.train.video_tokenizer.steps=2", "--config.train.video_tokenizer.eval_every=9"]
    return ["train", TINY, f"--data={long_data}", f"--workdir={trained}", "--stage=video_tokenizer", *steps, *more]


def test_a_checkpoint_of_another_config(oyster, refused, trained, long_data):
    """Both values are named; the run goes on under its own config, and fields that change nothing may differ."""
    assert oyster(*train(trained, long_data)).code == 0
    world = (trained / "world" / "params.safetensors").read_bytes()
    refused(
        train(trained, long_data, "--config.video_tokenizer.encoder.width=64"),
        "config.model.encoder.width: 32 against 64",
        "--workdir",
    )
    refused(train(trained, long_data, "--config.seed=1"), "config.seed: 0 against 1")
    assert oyster(*train(trained, long_data, "--config.train.video_tokenizer.log_every=1")).code == 0
    assert (trained / "world" / "params.safetensors").read_bytes() == world
    assert "video_tokenizer" in json.loads((trained / "world" / "world.json").read_text())["config"]

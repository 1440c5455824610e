"""oyster rollout: roll a world out into a video with sound.

  oyster rollout --world=runs/breakout/world --seconds=10 --actions='LEFT*20,RIGHT*20,NOOP*10' --out=world.mp4
  oyster rollout --world=reef --prompt='a bay by day in the rain, blue water, a fish' \\
    --event='4:a bay at night under a clear sky, green water, a turtle' --out=world.mp4
  oyster rollout --world=reef --image=start.png --actions='N/fast/white/none/none*20,stay/slow/off/A/kick*5'
  oyster rollout --world=runs/breakout/world --data=data_breakout --actions=random --out=world.mp4

A world begins from a held-out clip (--data), from an image, or from nothing but its prompt.
"""

from dataclasses import replace

from absl import flags

from oyster_jax.config_sampling import SamplingConfig
from oyster_jax.errors import OysterError

FLAGS = flags.FlagValues()
flags.DEFINE_string(
    "world", None, "a world: a folder that `train` exported, or reef, the one shipped", flag_values=FLAGS
)
flags.DEFINE_string("out", "world.mp4", "video file to write", flag_values=FLAGS)
flags.DEFINE_float("seconds", 10.0, "length", 0.1, 86400, flag_values=FLAGS)
flags.DEFINE_string(
    "actions",
    "random",
    "'random', 'idle', or a script of ACTION*FRAMES: LEFT*20,RIGHT*20, repeated to the end",
    flag_values=FLAGS,
)
flags.DEFINE_string("prompt", "", "what the world is, at most 256 bytes", flag_values=FLAGS)
flags.DEFINE_multi_string("event", [], "SECONDS:PROMPT, a prompt that takes over at that time", flag_values=FLAGS)
flags.DEFINE_string("image", None, "picture to begin with", flag_values=FLAGS)
flags.DEFINE_string("data", None, "data folder: begin with a held-out clip of it", flag_values=FLAGS)
flags.DEFINE_integer("seed", 0, "seed of all randomness", 0, 2**31 - 1, flag_values=FLAGS)
flags.DEFINE_integer("video_steps", None, "MaskGIT steps for the picture (default: the world's)", 1, flag_values=FLAGS)
flags.DEFINE_integer("audio_steps", None, "MaskGIT steps for the sound (default: the world's)", 1, flag_values=FLAGS)
flags.DEFINE_float("temperature", None, "sampling temperature (default: the world's)", 0, flag_values=FLAGS)
flags.DEFINE_float("action_guidance", None, "guidance on actions (default: the world's)", 0, flag_values=FLAGS)
flags.DEFINE_float("prompt_guidance", None, "guidance on prompts (default: the world's)", 0, flag_values=FLAGS)


def run(values: flags.FlagValues) -> None:
    import jax
    from tqdm import tqdm

    from oyster_jax.media import check_writable, read_image, write_video
    from oyster_jax.models.world_model import load
    from oyster_jax.sampling.compiled import compile_reset
    from oyster_jax.sampling.film import film
    from oyster_jax.sampling.rollout import prefill
    from oyster_jax.sampling.script import world_actions

    if not values.world:
        raise OysterError("--world is needed: a folder that `oyster train` exported, or reef")
    world = load(values.world)
    media = world.config.media
    if not values.seconds > 0:  # not a number
        raise OysterError(f"--seconds={values.seconds} should be a length")
    frames = round(values.seconds * media.fps)
    actions = world_actions(world, values.actions, frames, values.seed)[:-1]  # the last frame is only seen
    events = [parse_event(text, media.fps, frames) for text in values.event]
    sampling = asked_sampling(world.config.sampling, values)
    check_writable(values.out)
    key = jax.random.key(values.seed)
    if values.data and (values.prompt or values.image):
        raise OysterError("--data begins with a clip under its own prompt: leave out --prompt and --image, or --data")
    if values.data:
        begin = prefill(world, key, held_out_clip(values.data, world, values.seed))
    else:
        image = read_image(values.image, media) if values.image else None
        start = compile_reset(world, sampling=sampling, from_image=image is not None)
        begin = start(key, values.prompt, image)
    with tqdm(total=frames, desc="rollout", unit="frame", initial=1, dynamic_ncols=True) as bar:
        video, audio = film(world, begin, actions, events, sampling, bar.update)
    write_video(values.out, video, audio, media.fps, media.sample_rate)
    print(f"{values.out}: {len(video)} frames, {len(video) / float(media.fps):.2f} s")


def parse_event(text: str, fps, frames: int) -> tuple[int, str]:
    """`SECONDS:PROMPT` to (frame, prompt), for a film of `frames` frames."""
    from oyster_jax.models.text_encoder import prompt_bytes

    seconds, colon, prompt = text.partition(":")
    try:
        frame = max(1, round(float(seconds) * fps)) if float(seconds) >= 0 else None
    except (ValueError, OverflowError):
        frame = None
    if not colon or frame is None:
        raise OysterError(f"--event='{text}' should read SECONDS:PROMPT")
    if frame >= frames:
        raise OysterError(f"--event='{text}' comes after the end of {frames} frames: give more --seconds")
    prompt_bytes(prompt)
    return frame, prompt


def held_out_clip(folder: str, world, seed: int):
    """A random window of a held-out clip (of any, where none is), as long as the dynamics' own, as a batch of one."""
    import jax.numpy as jnp
    import numpy as np

    from oyster_jax.data.pipeline import open_clips, take
    from oyster_jax.types import Clip

    reader = open_clips(folder)
    if reader.info.media != world.config.media:
        raise OysterError(f"{folder} holds {reader.info.media}, this world is {world.config.media}")
    if world.config.dynamics.actions == "true" and reader.info.actions != world.config.actions:
        raise OysterError(f"{folder} has other actions than this world: begin with data of the same source")
    frames = world.config.dynamics.transformer.window
    long = {s: [i for i in reader.split(s) if reader.frames[i] >= frames] for s in ("held_out", "all")}
    clips = long["held_out"] or long["all"]
    if not clips:
        raise OysterError(f"{folder} holds no clip of {frames} frames to begin with: record longer ones")
    rng = np.random.default_rng(seed)
    meta, arrays = reader[rng.choice(clips)]
    start = rng.integers(len(arrays["video"]) - frames + 1)
    names = ("video", "audio", "action")
    batch = take(meta, arrays, int(start), frames, names, reader.info.max_prompts)
    return Clip(**{k: jnp.asarray(v)[None] for k, v in batch.items()})


def asked_sampling(own: SamplingConfig, values: flags.FlagValues) -> SamplingConfig:
    """A world's own way to draw frames, but for what flags say."""
    given = lambda **of: {field: values[flag].value for field, flag in of.items() if values[flag].value is not None}
    guided = lambda own: replace(own, **given(action="action_guidance", prompt="prompt_guidance"))
    return replace(
        own,
        randomness=replace(own.randomness, **given(temperature="temperature")),
        guidance=guided(own.guidance),
        opening=replace(own.opening, guidance=guided(own.opening.guidance)),
        **given(video_steps="video_steps", audio_steps="audio_steps"),
    )

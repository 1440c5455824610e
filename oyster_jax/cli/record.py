"""oyster record: play a simulator, a game or video files into a data folder.

  oyster record --source=reef --frames=20000 --out=data_reef
  oyster record --source=reef:open --frames=20000 --out=data_open
  oyster record --source=ale:breakout --frames=20000 --out=data_breakout
  oyster record --source=vizdoom:basic_audio --frames=5000 --out=data_doom
  oyster record --source='video:clips/*.mp4' --fps=12 --sample_rate=12288 --out=data_video

The same command continues a recording that was interrupted, or makes it longer.
"""

from absl import flags, logging

from oyster_jax.errors import OysterError

FLAGS = flags.FlagValues()
flags.DEFINE_string(
    "source", None, "reef, reef:open, reef:both, ale:GAME, vizdoom:SCENARIO or video:GLOB", flag_values=FLAGS
)
flags.DEFINE_string("out", None, "data folder to write", flag_values=FLAGS)
flags.DEFINE_integer("frames", None, "frames to record (video files: default all)", 1, flag_values=FLAGS)
flags.DEFINE_integer("seed", 0, "seed of the players and of the simulator", 0, 2**31 - 1, flag_values=FLAGS)
flags.DEFINE_string(
    "fps", None, "frames a second, such as 15 or 35/4 (default: the source's own; films: 15)", flag_values=FLAGS
)
flags.DEFINE_integer("size", None, "height and width in pixels (default: 64)", 8, flag_values=FLAGS)
flags.DEFINE_integer(
    "sample_rate",
    None,
    "sound samples a second (default: the source's own; films: 1,024 a frame)",
    1,
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "policy",
    None,
    "who plays (default: the source's own): 'random'; in the reef 'restless', who turns more often, and most of whose "
    "captions leave something out, which stays what it was",
    flag_values=FLAGS,
)
flags.DEFINE_float(
    "random_share",
    None,
    "how much of a game is played at random (default: 0.3): of an Atari game a share of frames, of the reef a share of "
    "the wanderer's moods",
    0,
    1,
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "clip_frames", 128, "frames of one stored clip; training windows are cut from it", 2, flag_values=FLAGS
)


def run(values: flags.FlagValues) -> None:
    from tqdm import tqdm

    from oyster_jax.data.recorder import record
    from oyster_jax.data.sources import SourceOptions, make_source

    if not values.source or not values.out:
        raise OysterError("--source and --out are needed, for instance --source=reef --out=data_reef")
    options = SourceOptions(
        values.seed, values.fps, values.size, values.sample_rate, values.policy, values.random_share
    )
    source = make_source(values.source, options)
    with tqdm(total=values.frames, desc=values.source, unit="frame", dynamic_ncols=True) as bar:
        info = record(source, values.out, values.frames, values.seed, values.clip_frames, bar.update)
    for note in info.notes:
        logging.warning(note)
    print(f"{values.out}: {info.frames} frames in {info.next_episode} episodes")

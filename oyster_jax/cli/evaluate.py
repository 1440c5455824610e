"""oyster evaluate: measure a world on the held-out episodes of a data folder, or against the simulator it learnt.

  oyster evaluate --world=runs/breakout/world --data=data_breakout --out=runs/breakout/report
  oyster evaluate --world=reef --data=data_reef --out=report --starts=64 --video_steps=4
  oyster evaluate --world=reef --match=60 --out=report
  oyster evaluate --world=reef --match=60 --idle --worlds=3 --out=report
  oyster evaluate --world=runs/reef/world --match=60 --place=open --out=report
  oyster evaluate --world=reef --direct --out=report

All write a page, index.html; those of --data and --match have films with sound.

With --data: writes report.json, plots and contact sheets. Tokenizers: PSNR and SSIM, whole and on changed pixels,
beside the static median frame; log-mel distance; codes in use. Dynamics: bits a frame beside two guessers; ΔPSNR of
actions. Of Breakout and Pong whether ball and paddles persist, in rollouts as long as the held-out clips, under their
actions and played on by the recordings' player, and whether hits sound when they are seen: record with
--clip_frames=320 for twenty seconds.

With --match: rolls a world of the reef out for so many seconds beside the simulator, under the same actions and prompts
of fresh episodes. Writes match.json, curves over time (curves.json, match.png), sheets and films: PSNR and SSIM, whole
and where things move, what can be seen (hour, weather, water, swimmer, creature, pearls) and heard (hour, weather),
sharpness, colours and sound, beside a frozen frame, the bare bay and the tokenizer alone. Whether sounds begin when
their causes are seen. Then every value of every action is tried from the same moments, to count the actions whose
effects can be told apart. With --place=open in the open reef, where a swimmer then also leaves a place for ten seconds
and comes back to it.

With --direct: asks a world of the reef for every scene of a place by its caption, from nothing and as an event after
two seconds, and has it continue images. Writes directing.json and a sheet: what can be seen and heard of what was asked
for, attribute by attribute, of captions that were recorded and of those that never were.

With --lpips=FILE the first two also give LPIPS, how unlike pictures look to a trained network. No network comes with
the package; in an environment with the lpips package, this makes the file:

  python -c 'import lpips; from safetensors.torch import save_model; save_model(lpips.LPIPS(net="alex"), "FILE")'
"""

from dataclasses import replace

from absl import flags

from oyster_jax.errors import OysterError

FLAGS = flags.FlagValues()
flags.DEFINE_string(
    "world", None, "a world: a folder that `train` exported, or reef, the one shipped", flag_values=FLAGS
)
flags.DEFINE_string("data", None, "data folder made by `oyster record`", flag_values=FLAGS)
flags.DEFINE_string("out", None, "folder for the report", flag_values=FLAGS)
flags.DEFINE_integer("frames", 2000, "held-out frames for tokenizers and bits", 32, flag_values=FLAGS)
flags.DEFINE_integer("starts", 256, "starts for ΔPSNR", 2, flag_values=FLAGS)
flags.DEFINE_integer("context", 8, "real frames before each start", 1, flag_values=FLAGS)
flags.DEFINE_integer("batch", 32, "starts rolled out at once", 1, flag_values=FLAGS)
flags.DEFINE_integer("seed", 0, "seed of the choice of clips and of sampling", 0, 2**31 - 1, flag_values=FLAGS)
flags.DEFINE_integer("video_steps", None, "MaskGIT steps for the picture (default: the world's)", 1, flag_values=FLAGS)
flags.DEFINE_integer("audio_steps", None, "MaskGIT steps for the sound (default: the world's)", 1, flag_values=FLAGS)
flags.DEFINE_string("lpips", None, "a file of LPIPS weights, for that distance too", flag_values=FLAGS)
flags.DEFINE_integer("match", None, "seconds to play against the simulator", 1, flag_values=FLAGS)
flags.DEFINE_integer("worlds", 8, "episodes of a match", 1, flag_values=FLAGS)
flags.DEFINE_boolean("idle", False, "a match in which nobody plays", flag_values=FLAGS)
flags.DEFINE_boolean("direct", False, "ask for every scene by its caption", flag_values=FLAGS)
flags.DEFINE_enum("place", "bay", ["bay", "open"], "of --match and --direct: bay or open reef", flag_values=FLAGS)
flags.DEFINE_boolean("held_out", False, "a match under prompts that were never recorded", flag_values=FLAGS)


# What each kind of report takes, beside what all do.
TAKES = {
    "--data": {"frames", "starts", "context", "batch", "lpips"},
    "--match": {"worlds", "idle", "held_out", "place", "context", "lpips"},
    "--direct": {"place"},
}


def run(values: flags.FlagValues) -> None:
    import json

    from oyster_jax.evaluation.directing import DirectOptions, evaluate_directing
    from oyster_jax.evaluation.report import EvaluationOptions, evaluate
    from oyster_jax.evaluation.simulator import MatchOptions, evaluate_match
    from oyster_jax.models.world_model import load

    asked = [f"--{name}" for name in ("data", "match", "direct") if values[name].value]
    if not values.world or not values.out or not asked:
        raise OysterError("--world, --out and one of --data, --match and --direct are needed")
    if len(asked) > 1:
        raise OysterError(f"give one of {' and '.join(asked)}: each is a report of its own")
    common = {"data", "match", "direct", "world", "out", "seed", "video_steps", "audio_steps"}
    known = common | TAKES[asked[0]]
    if odd := [f"--{name}" for name in FLAGS if values[name].present and name not in known]:
        raise OysterError(f"{' and '.join(odd)}: not of a report of {asked[0]}")
    world = load(values.world)
    steps = {n: values[n].value for n in ("video_steps", "audio_steps") if values[n].value is not None}
    sampling = replace(world.config.sampling, **steps)
    drawn = {"seed": values.seed, "sampling": sampling}
    shared = drawn | {"context": values.context, "lpips": values.lpips}
    log = lambda line: print(f"evaluating {line}", flush=True)
    if values.match:
        play = {name: values[name].value for name in ("worlds", "idle", "held_out", "place")}
        report = evaluate_match(world, values.out, MatchOptions(seconds=values.match, **play, **shared), log)
    elif values.direct:
        report = evaluate_directing(world, values.out, DirectOptions(place=values.place, **drawn), log)
    else:
        much = {"frames": values.frames, "starts": values.starts, "batch": values.batch}
        report = evaluate(world, values.data, values.out, EvaluationOptions(**much, **shared), log)
    print(json.dumps(report, indent=1))

"""The command line: `oyster COMMAND --flags`. Only this folder reads flags or the environment."""

import errno
import importlib
import sys

from absl import flags, logging

COMMANDS = {
    "record": "play a simulator, a game or video files into a data folder",
    "train": "train a world on a data folder",
    "rollout": "roll a world out into a video with sound",
    "evaluate": "measure a world on held-out data",
}
USAGE = "usage: oyster COMMAND [--flags]\n\n" + "\n".join(f"  {k:10} {v}" for k, v in COMMANDS.items())


def main(argv: list[str] | None = None) -> int:
    """Runs one command; returns the exit code: 0 done, 2 for a user's mistake (one line on stderr), 130 for Ctrl-C."""
    name, *args = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in ("-h", "--help", "help"):
        print(USAGE + "\n\n`oyster COMMAND --help` shows examples and flags.")
        return 0
    if name not in COMMANDS:
        return fail("oyster", f"no command '{name}'; commands are {', '.join(COMMANDS)}")
    logging.use_absl_handler()
    logging.set_verbosity(logging.WARNING)
    program = f"oyster {name}"
    try:
        command = importlib.import_module(f"oyster_jax.cli.{name}")
        if {"-h", "--help"} & set(args):
            print(f"{command.__doc__}\nFlags:\n{command.FLAGS.get_help(prefix='  ')}")
            return 0
        parse(command.FLAGS, [program, *args])
        command.run(command.FLAGS)
        return 0
    except KeyboardInterrupt:
        print(f"\n{program}: interrupted; what was finished is kept, the same command continues", file=sys.stderr)
        return 130
    except Exception as e:
        message = users_mistake(e)
        if message is None:
            raise
        return fail(program, message)


def parse(values: flags.FlagValues, argv: list[str]) -> None:
    """Parses flags, turning every mistake into a flags.Error."""
    try:
        rest = values(argv)
    except (AttributeError, KeyError, TypeError, ValueError) as e:  # how ml_collections refuses an override
        raise flags.Error(str(e).strip("'\"")) from None
    if len(rest) > 1:
        raise flags.Error(f"unexpected argument '{rest[1]}': every option is written --name=value")


def users_mistake(error: BaseException) -> str | None:
    """One line for what a user can mend; None for a bug, which keeps its traceback."""
    from oyster_jax.errors import OysterError

    if isinstance(error, (OysterError, flags.Error)):
        return str(error)
    cause: BaseException | None = error
    while cause is not None:
        full = getattr(cause, "errno", None) in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
        if full or "No space left on device" in str(cause) or "File too large" in str(cause):
            return "the disk is full (or a file-size limit was reached): free some space and run the same command again"
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("oyster_jax"):
        return f"this command needs {error.name}: pip install 'oyster_jax[train]' (or [media], [sims])"
    if isinstance(error, (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError)):
        return f"{error.strerror}: {error.filename}"
    return None


def fail(program: str, message: str) -> int:
    """Prints one line on stderr and returns exit code 2."""
    print(f"{program}: {' '.join(message.split())}", file=sys.stderr)
    return 2

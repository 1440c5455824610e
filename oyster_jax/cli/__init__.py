"""The command line: `oyster COMMAND --flags`. Only this folder reads flags or the environment."""

import importlib
import sys
from logging import Formatter

from absl import flags, logging

from oyster_jax.cli.noise import full_disk, hush

COMMANDS = {
    "record": "play a simulator, a game or video files into a data folder",
    "train": "train a world on a data folder",
    "rollout": "roll a world out into a video with sound",
    "evaluate": "measure a world on held-out data, or against the reef's simulator",
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
    program = f"oyster {name}"
    flags.FLAGS.mark_as_parsed()  # absl's own flags, of which only logging reads some, keep their defaults
    logging.use_absl_handler()
    logging.get_absl_handler().setFormatter(Formatter(f"{program}: %(message)s"))
    logging.set_verbosity(logging.WARNING)
    if argv is None:  # this process is the command
        hush()
    try:
        command = importlib.import_module(f"oyster_jax.cli.{name}")
        if {"-h", "--help"} & set(args):
            print(f"{command.__doc__}\nFlags:\n{command.FLAGS.get_help(prefix='  ')}")
            return 0
        parse(command.FLAGS, [program, *args])
        command.run(command.FLAGS)
        return 0
    except KeyboardInterrupt:
        print(f"\n{program}: interrupted; run it again (record and train go on from where they were)", file=sys.stderr)
        return 130
    except Exception as e:
        message = users_mistake(e)
        if message is None:
            raise
        return fail(program, message)


def parse(values: flags.FlagValues, argv: list[str]) -> None:
    """Parses flags from their defaults on, turning every mistake into a flags.Error."""
    values.unparse_flags()
    for override in [name for name in values if "." in name]:  # of an earlier command in the same process
        delattr(values, override)
    sys.modules.pop("config_config", None)  # or a config file would run in the names that an earlier one left
    before, sys.argv = sys.argv, argv  # ml_collections looks for --config.FIELD there
    try:
        rest = values(argv)
    except flags.Error as e:
        # A mistake that a config file raises comes with its traceback inside; the last line says what it is.
        raise flags.Error(str(e).strip().splitlines()[-1].removeprefix("oyster_jax.errors.OysterError: ")) from None
    except Exception as e:  # whatever a config file raises, and how ml_collections refuses an override
        file = next((a.partition("=")[2] for a in argv if a.startswith("--config=")), "--config")
        reason = "there is no such file" if isinstance(e, OSError) else f"{type(e).__name__}: {e}"
        raise flags.Error(f"{file} cannot be used: {reason}") from None
    finally:
        sys.argv = before
    if len(rest) > 1:
        raise flags.Error(f"unexpected argument '{rest[1]}': every option is written --name=value")


def users_mistake(error: BaseException) -> str | None:
    """One line for what a user can mend; None for a bug, which keeps its traceback."""
    from oyster_jax.errors import OysterError

    if isinstance(error, (OysterError, flags.Error)):
        return str(error)
    if full_disk(error):
        return "the disk is full (or a file-size limit was reached): free some space and run the same command again"
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("oyster_jax"):
        return f"this command needs {error.name}: pip install 'oyster_jax[train]' (or [media], [sims])"
    paths = (FileNotFoundError, FileExistsError, PermissionError, NotADirectoryError, IsADirectoryError)
    if isinstance(error, paths) and error.filename:
        return f"{error.filename} cannot be used: {error.strerror}; choose another path"
    return None


def fail(program: str, message: str) -> int:
    """Prints one line on stderr and returns exit code 2."""
    print(f"{program}: {' '.join(message.split())}", file=sys.stderr)
    return 2

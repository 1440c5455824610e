"""The one exception for mistakes that a caller can mend."""


class OysterError(ValueError):
    """Bad input at a boundary: the message names the thing and the fix.

    The command line prints it as one line and exits with code 2; any other exception is a bug and keeps its
    traceback.
    """


def check(ok: bool, message: str) -> None:
    """Raises OysterError with `message` unless `ok`."""
    if not ok:
        raise OysterError(message)


def check_positive(config, *names: str) -> None:
    """Raises OysterError where one of these fields is not positive."""
    for name in names:
        value = getattr(config, name)
        check(value > 0, f"{type(config).__name__}.{name} must be positive, got {value}")

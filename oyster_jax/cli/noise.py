"""Keeps a full disk to one line: the log's and the checkpoints' threads meet it too, each with a traceback."""

import errno
import logging
import sys
import threading


def full_disk(error: BaseException | None) -> bool:
    """Whether an exception, or what led to it, says that the disk is full."""
    while error is not None:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
            return True
        if "No space left on device" in str(error) or "File too large" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def hush() -> None:
    """For the rest of this process, says nothing of a full disk met in a thread, at exit or in a library's log.

    What matters of it is raised in the main thread as well, where the command reports it.
    """
    # TensorStore goes on telling a loop that the failure has closed.
    known = lambda e: full_disk(e) or (isinstance(e, RuntimeError) and str(e) == "Event loop is closed")
    in_thread, at_exit, from_c = threading.excepthook, sys.unraisablehook, sys.excepthook
    threading.excepthook = lambda args: None if known(args.exc_value) else in_thread(args)
    sys.unraisablehook = lambda args: None if known(args.exc_value) else at_exit(args)
    sys.excepthook = lambda kind, value, trace: None if known(value) else from_c(kind, value, trace)
    for handler in logging.getLogger().handlers:
        handler.addFilter(lambda record: not (record.exc_info and known(record.exc_info[1])))

"""Results on standard output, whoever reads them there."""

import contextlib
import os
import sys
from collections.abc import Iterable

from ..errors import ConfirmaError

__all__ = ["OutputError", "write_lines"]


class OutputError(ConfirmaError):
    """A result could not be written; what was to be told of it is lost, and what was sent stands."""


def write_lines(lines: Iterable[str]) -> bool:
    """Write lines to standard output, and be content if nobody reads them to their end (`| head`).

    Returns:
        Whether somebody may read what follows.

    Raises:
        OutputError: They cannot be written, such as to a disk that is full.
    """
    if sys.stdout is None:
        raise OutputError("The result could not be written: standard output is closed.")
    try:
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()
    except BrokenPipeError:
        _let_go()
        return False
    except OSError as error:
        _let_go()
        raise OutputError(f"The result could not be written: {error.strerror or type(error).__name__}.") from None
    return True


def _let_go() -> None:
    """Have what is left in the buffer go nowhere: Python would try to write it again when it ends, and complain."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)

"""`python -m confirma_async`, and the command `confirma`."""

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line on the arguments of this process, and exit with its code."""
    try:
        from .cli.app import run  # noqa: PLC0415 - typer and rich belong to an extra
    except KeyboardInterrupt:
        sys.exit(130)
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] not in ("typer", "rich"):
            raise
        sys.exit(_without_extra())
    sys.exit(run())


def _without_extra() -> int:
    sys.stderr.write("Error: the command confirma needs the extra cli: pip install 'confirma_async[cli]'\n")
    return 2


if __name__ == "__main__":
    main()

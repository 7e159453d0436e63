"""The package's logger. It is silent until an application configures logging, and never holds a token or a comment."""

import logging

__all__ = ["log"]

log = logging.getLogger("confirma_async")
log.addHandler(logging.NullHandler())

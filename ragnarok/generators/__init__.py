"""What answers questions from passages; one generator, one file."""

from ragnarok.generators.local import LocalGenerator, LocalOptions

__all__ = ["LocalGenerator", "LocalOptions"]

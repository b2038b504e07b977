"""What answers questions from passages; one generator, one file."""

from ragnarok.generators.local import LocalGenerator, LocalOptions
from ragnarok.generators.quote import QuoteGenerator, QuoteOptions

__all__ = ["LocalGenerator", "LocalOptions", "QuoteGenerator", "QuoteOptions"]

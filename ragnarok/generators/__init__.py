"""What answers questions from passages; one generator, one file."""

from ragnarok.generators.local import LocalGenerator, LocalOptions
from ragnarok.generators.quote import QuoteGenerator, QuoteOptions
from ragnarok.generators.remote import OpenAIGenerator, OpenAIOptions

__all__ = [
    "LocalGenerator",
    "LocalOptions",
    "OpenAIGenerator",
    "OpenAIOptions",
    "QuoteGenerator",
    "QuoteOptions",
]

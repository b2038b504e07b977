"""A server of fakes as a process: `python -m tests.service.slow_server PORT SECONDS`, seconds a sentence."""

import sys
import time
from collections.abc import Iterator, Sequence

from ragnarok.types import Answer, Hit, Sentence
from service.app import create_app
from service.server import run
from tests.service.fakes import SENTENCES, a_pipeline


class Slow:
    """A generator that takes its time for each sentence."""

    def __init__(self, seconds: float) -> None:
        """Wait so long before each."""
        self.seconds = seconds

    def stream(self, query: str, _hits: Sequence[Hit]) -> Iterator[Sentence | Answer]:
        """The sentences and the answer."""
        for sentence in SENTENCES:
            time.sleep(self.seconds)
            yield sentence
        yield Answer(query, SENTENCES, ())


if __name__ == "__main__":
    pipeline = a_pipeline()
    pipeline.generator = Slow(float(sys.argv[2]))
    run("127.0.0.1", int(sys.argv[1]), lambda settings: create_app(settings, pipeline))

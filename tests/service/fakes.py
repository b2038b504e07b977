"""The three seams by hand, small enough to know every answer, and steps that a test lets go one by one."""

from collections.abc import Iterator, Sequence
from threading import Event, Semaphore

from ragnarok.pipeline import Pipeline
from ragnarok.types import Answer, Highlight, Hit, Passage, RankedHit, Sentence

EVIL = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"

PASSAGES = (
    Passage(
        "lib#sort",
        "sorted() builds a new sorted list.\n\n    sorted(rows, key=len)",
        "Sorting",
        "https://docs.test/sort",
    ),
    Passage(
        "lib#emoji", "😀🎉 Emoji 👩‍👩‍👧 before the key word.", "Signs 🎈", "javascript:document.title='owned'"
    ),
    Passage("lib#evil", f"{EVIL} and more", EVIL, "http://docs.test/evil"),
    Passage("lib#bare", "A passage without a title. " + "It goes on and on. " * 60),
    Passage("lib#long/" + "x" * 120, "Unbroken: " + "y" * 300, "W" * 150),
    Passage("lib#rtl", "שלום עולם, this runs both ways.", "עברית"),
    Passage("lib#last", "The last of all.", "Last"),
)

SENTENCES = (
    Sentence("Use sorted() with a key.", (0, 1)),
    Sentence("A key can be a word 🎉.", (1,)),
    Sentence(f"Never run {EVIL}.", (2,)),
)
REFERENCES = ("lib#emoji", "lib#last", "lib#evil")


class Shelf:
    """A retriever that finds the same passages for every question, or fails."""

    def __init__(self, passages: Sequence[Passage] = PASSAGES, error: Exception | None = None) -> None:
        """Find `passages`, or raise `error`."""
        self.passages, self.error = passages, error
        self.asked: list[str] = []

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The first `k` passages."""
        self.asked += queries
        if self.error:
            raise self.error
        hits = [Hit(p.docid, 10.0 - n, n, p) for n, p in enumerate(self.passages[:k], start=1)]
        return [hits for _ in queries]


class Reverser:
    """A re-ranker that turns the order around and highlights `key`, and two other words less."""

    def rerank(self, _query: str, hits: Sequence[Hit]) -> list[RankedHit]:
        """The same hits, last first."""
        return [
            RankedHit(
                h.docid,
                h.rank / 100,
                rank,
                h.passage,
                h.rank,
                h.score,
                self._marks(h.passage.text),
                h.rank == 4,
            )
            for rank, h in enumerate(reversed(hits), start=1)
        ]

    def _marks(self, text: str) -> tuple[Highlight, ...]:
        words = (("Emoji", 0.4), ("key", 1.0), ("last", 0.7))
        return tuple(
            Highlight(text.index(w), text.index(w) + len(w), weight) for w, weight in words if w in text
        )


class Reciter:
    """A generator that says the same sentences to every question; with `steps`, each when it is let go."""

    def __init__(self, steps: Semaphore | None = None, error: Exception | None = None) -> None:
        """Wait for `steps` before each sentence; raise `error` after the first."""
        self.steps, self.error = steps, error
        self.begun, self.closed = Event(), Event()
        self.said = 0

    def stream(self, query: str, hits: Sequence[Hit]) -> Iterator[Sentence | Answer]:
        """The sentences and the answer; nothing but a note when nothing was found."""
        self.begun.set()
        try:
            if not hits:
                yield Answer(query, notes=("no passage was found",))
                return
            for sentence in SENTENCES:
                if self.steps:
                    assert self.steps.acquire(timeout=20)
                yield sentence
                self.said += 1
                if self.error:
                    raise self.error
            yield Answer(query, SENTENCES, REFERENCES, ("one citation was dropped",))
        finally:
            self.closed.set()


def a_pipeline(
    shelf: Shelf | None = None, reciter: Reciter | None = None, *, depth: int = len(PASSAGES)
) -> Pipeline:
    """A pipeline of fakes."""
    return Pipeline(shelf or Shelf(), Reverser(), reciter or Reciter(), depth=depth)

"""A prompt of numbered passages whose every token's origin is known.

Pieces are tokenised apart and joined as ids, so a passage's span follows from the construction: nothing is
searched for and nothing is tokenised twice. Control tokens written inside a passage or a question stay
plain text; only the chat template's own count. This module knows nothing of attention or scores.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tokenizers import Encoding

from rerank.errors import ContextTooSmall
from rerank.model import Model

MIN_PASSAGE_TOKENS = 16
"""Passages are cut to make a list fit, but never below this: a shorter one says nothing."""

_SENTINEL = "\x00"


@dataclass(frozen=True, slots=True)
class ChatFrame:
    """What the chat template puts before and after the user's words, as text."""

    before: str
    after: str

    @classmethod
    def of(cls, model: Model, system: str | None = None) -> "ChatFrame":
        """The frame of `model`; without a chat template, plain text that ends in `Answer:`."""
        tokenizer = model.tokenizer
        if not tokenizer.chat_template:
            before = f"{tokenizer.bos_token or ''}{system or ''}"
            return cls(before, "\n\nAnswer:")
        messages = [{"role": "user", "content": _SENTINEL}]
        if system:
            messages.insert(0, {"role": "system", "content": system})
        text = str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
        before, _, after = text.partition(_SENTINEL)
        return cls(before, after)


@dataclass(frozen=True, slots=True)
class PassageContext:
    """The tokens up to the last passage, and where each passage lies among them.

    `spans[i]` is the half-open token range of passage i (in the order given by the caller), number mark
    included; its last `lengths[i]` tokens are the text, whose character ranges `offsets(i)` gives.
    `cut[i]` says that only the passage's beginning is there.
    """

    tokens: list[int]
    spans: list[tuple[int, int]]
    lengths: list[int]
    cut: list[bool]
    encodings: Sequence[Encoding] = field(repr=False)
    """Of each passage with a space before it, whole."""

    def offsets(self, place: int) -> list[tuple[int, int]]:
        """Which characters of passage `place` each of its tokens is; made when asked for."""
        # The space before the text is not the passage's: offsets count from its first character.
        pairs = self.encodings[place].offsets[: self.lengths[place]]
        return [(start - (start > 0), end - (end > 0)) for start, end in pairs]


def passage_context(
    model: Model,
    before: str,
    lead: str,
    passages: Sequence[str],
    *,
    separator: str,
    reserve: int,
    order: Sequence[int] | None = None,
    passage_tokens: int | None = None,
) -> PassageContext:
    """`{before}{lead}{sep}[1] passage{sep}[2] passage …{sep}`, passages in `order` (default: as given).

    Passages are numbered by their place in the prompt. Each is cut to `passage_tokens` tokens, and then
    all to the largest common length that leaves `reserve` tokens of the model's context free. Raises
    `ContextTooSmall` when that length falls below `MIN_PASSAGE_TOKENS`.
    """
    places = list(range(len(passages)) if order is None else order)
    head = model.encode_template(before) + model.encode([lead])[0]
    gap = model.encode([separator])[0]
    marks = model.encode([f"[{number}]" for number in range(1, len(passages) + 1)])
    texts = model.tokenizer(
        [f" {passage}" for passage in passages], add_special_tokens=False, split_special_tokens=True
    )
    ids: list[list[int]] = texts["input_ids"]
    fixed = len(head) + len(gap) * (len(passages) + 1) + sum(map(len, marks)) + reserve
    room = model.shape.context - fixed
    lengths = [min(len(row), passage_tokens or len(row)) for row in ids]
    limit = _common_limit(lengths, room)
    if room < 0 or limit < min(MIN_PASSAGE_TOKENS, max(lengths)):
        raise ContextTooSmall(
            f"{len(passages)} passages do not fit the {model.shape.context} tokens that {model.name} reads: "
            f"{fixed} are taken, which leaves {max(room, 0) // len(passages)} a passage "
            f"(at least {MIN_PASSAGE_TOKENS} are needed). Give fewer passages, a shorter question or a model "
            "with a longer context"
        )
    tokens = list(head)
    spans = [(0, 0)] * len(passages)
    for mark, place in zip(marks, places, strict=True):
        tokens += gap
        start = len(tokens)
        tokens += mark + ids[place][: min(lengths[place], limit)]
        spans[place] = (start, len(tokens))
    kept = [min(length, limit) for length in lengths]
    return PassageContext(
        tokens=tokens + gap,
        spans=spans,
        lengths=kept,
        cut=[length < len(row) for row, length in zip(ids, kept, strict=True)],
        encodings=texts.encodings,
    )


def _common_limit(lengths: Sequence[int], room: int) -> int:
    """The largest L with Σ min(length, L) ≤ room."""
    left, remaining = room, sorted(lengths)
    for count in range(len(remaining), 0, -1):
        shortest = remaining[len(remaining) - count]
        if shortest * count > left:
            return max(left, 0) // count
        left -= shortest
    return max(lengths)

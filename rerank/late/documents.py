"""Documents read once and alone: the keys of the scoring KV groups, and what the null query says of them.

A document stands behind the shared prefix at the same positions as any other. Only layers up to the last
scoring one run. Keys are kept in the model's precision or as int8, each token's key of a group scaled by
its largest component (error at most 1/254 of that component); for a profile with a `distance` they are
turned back to position 0 first, so that a match does not depend on where in the document a word stands.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from tokenizers import Encoding
from torch import Tensor

from rerank.late.match import match
from rerank.late.queries import Prompt
from rerank.late.turning import turning
from rerank.late.types import PAGE, Pages, Rows
from rerank.model import Model
from rerank.observe import AttentionCall
from rerank.packed import Prefix, read_packed
from rerank.profile import HeadProfile
from rerank.rotary import Rotary
from rerank.steady import steady
from rerank.transfer import send

BATCH_TOKENS = {"cuda": 16_384, "cpu": 2_048}
"""Tokens of documents that run as one."""


@dataclass(frozen=True, slots=True)
class Text:
    """A document's tokens as they are read, their characters `start:end` in the text, and if it goes on."""

    tokens: list[int]
    cut: bool
    encoding: Encoding = field(repr=False)

    def characters(self) -> list[tuple[int, int]]:
        """The characters of each token; made when asked for."""
        return self.encoding.offsets[: len(self.tokens)] or [(0, 0)]


@dataclass(frozen=True, slots=True)
class Encoded:
    """Some documents, one after another; `places` says which of those asked for they are.

    `keys` `[tokens, groups, dim]`, `scales` `[tokens, groups]` for int8, `null` `[documents]`.
    """

    places: list[int]
    lengths: list[int]
    keys: Tensor
    scales: Tensor | None
    null: Tensor


class TextReader:
    """Finds out which tokens of a text are read; not safe for two threads."""

    def __init__(self, model: Model, profile: HeadProfile, prefix: Prefix, prompt: Prompt) -> None:
        """`prefix` is what texts stand behind."""
        self._model = model
        self._limit = min(profile.passage_tokens, model.shape.context - prefix.next)
        # A text without any token is read as an empty line: it has a score like any other.
        self._empty = prompt.between[:1]

    def tokenize(self, texts: Sequence[str]) -> list[Text]:
        """What is read of each text: its first `passage_tokens` tokens, or an empty line for an empty one."""
        if not texts:
            return []
        # Text beyond what can be read is not even tokenised: no token has more characters than this.
        clipped = [text[: self._limit * MOST_CHARACTERS] for text in texts]
        encoded = self._model.tokenizer(clipped, add_special_tokens=False, split_special_tokens=True)
        return [
            Text(
                ids[: self._limit] or self._empty,
                len(ids) > self._limit or len(short) < len(text),
                encoding,
            )
            for ids, encoding, short, text in zip(
                encoded["input_ids"], encoded.encodings, clipped, texts, strict=True
            )
        ]


class DocumentReader(TextReader):
    """Reads documents for late attention; not safe for two threads."""

    def __init__(
        self,
        model: Model,
        profile: HeadProfile,
        prefix: Prefix,
        prompt: Prompt,
        rotary: Rotary | None,
        dtype: torch.dtype,
    ) -> None:
        """Keys are kept in `dtype`, the model's own or int8; with a `rotary`, turned back to position 0."""
        super().__init__(model, profile, prefix, prompt)
        self._prefix, self._dtype = prefix, dtype
        self._last = profile.depth - 1
        self._groups: dict[int, list[int]] = {}
        for layer, group in profile.groups:
            self._groups.setdefault(layer, []).append(group)
        self._turn = turning(rotary, [layer for layer, _ in profile.groups], 0)
        self.batch_tokens = BATCH_TOKENS[model.device.type]
        self.tokens = 0
        """Tokens of documents read so far."""

    @torch.inference_mode()
    def read(self, texts: Sequence[Text], null: Rows) -> Iterator[Encoded]:
        """Read documents, the short ones first, in batches of at most `batch_tokens` tokens.

        A batch that the device has no memory for is halved, and so are those after it; raises torch's
        `OutOfMemoryError` where one document is too much.
        """
        order = sorted(range(len(texts)), key=lambda place: len(texts[place].tokens))
        done = 0
        while done < len(order):
            size = tokens = 0
            while done + size < len(order) and (
                not size or tokens + len(texts[order[done + size]].tokens) <= self.batch_tokens
            ):
                tokens += len(texts[order[done + size]].tokens)
                size += 1
            places = order[done : done + size]
            encoded = None
            try:
                encoded = self._read([texts[place].tokens for place in places], places, null)
            except torch.OutOfMemoryError:
                if size == 1:
                    raise
            if encoded is None:
                # Not above: while an error is handled, its frames hold what is to be freed.
                torch.cuda.empty_cache()
                self.batch_tokens = tokens // 2
                continue
            self.tokens += tokens
            self._model.counted("rerank_passages", tokens)
            yield encoded
            done += size

    def _read(self, documents: list[list[int]], places: list[int], null: Rows) -> Encoded:
        lengths = [len(document) for document in documents]
        taken: list[Tensor] = []

        def take(call: AttentionCall, _: Tensor, key: Tensor) -> None:
            if call.layer in self._groups:
                taken.append(key[:, self._groups[call.layer]])

        with steady(self._model.device):
            positions = read_packed(self._model, self._prefix, documents, self._last, take)
        keys = self._turn(torch.cat(taken, dim=1), positions)
        scales = None
        if self._dtype == torch.int8:
            keys, scales = quantised(keys)
        return Encoded(places, lengths, keys, scales, self._null(keys, scales, lengths, null))

    def _null(self, keys: Tensor, scales: Tensor | None, lengths: list[int], null: Rows) -> Tensor:
        """What the null query says of each document, from its keys as they are kept."""
        device = keys.device
        count = [-(-length // PAGE) for length in lengths]
        first = torch.tensor([0, *count]).cumsum(0)[:-1]
        table = first[:, None] + torch.arange(max(count))
        rows = torch.cat(
            [
                start * PAGE + torch.arange(length)
                for start, length in zip(first.tolist(), lengths, strict=True)
            ]
        )
        rows = send(rows, device)
        total = sum(count) * PAGE
        paged = keys.new_zeros(total, *keys.shape[1:]).index_copy_(0, rows, keys)
        if scales is not None:
            scales = scales.new_zeros(total, scales.shape[1]).index_copy_(0, rows, scales)
        pages = Pages(
            paged,
            scales,
            send(table.to(torch.int32), device),
            send(torch.tensor(lengths, dtype=torch.int32), device),
        )
        every = torch.arange(len(lengths), dtype=torch.int32).numpy()
        return match(null, pages, every * 0, every)


MOST_CHARACTERS = 64
"""Characters of the longest token worth waiting for; more of a text is cut away before it is tokenised."""


def quantised(keys: Tensor) -> tuple[Tensor, Tensor]:
    """Keys `[tokens, groups, dim]` as int8 and the scale of each token and group, fp32."""
    scales = keys.float().abs().amax(dim=-1).clamp_min(torch.finfo(torch.float32).tiny) / 127
    return (keys.float() / scales[..., None]).round().to(torch.int8), scales

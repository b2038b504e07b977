"""Read mode re-ranking: query and texts in, scores out.

For token t of a document, with R(q) the rows of the question and of the end of the chat template, and w_h
the weight of a scoring head, which sees the prefix, all documents and its own ending:

    s_q(t) = Σ_heads w_h · mean_{r ∈ R(q)} softmax(q_r·K/√d)_t                 fp32
    c(t)   = s_query(t) − s_"N/A"(t)
    score  = Σ c(t) over the document's tokens with c(t) > mean − 2·std

as in joint mode (`rerank.icr`); but documents do not see each other, and none stands nearer to the question.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

import torch

from rerank.counts import Counted
from rerank.errors import ContextTooSmall
from rerank.icr import Reading, calibrated, passage_score
from rerank.late.documents import TextReader
from rerank.late.queries import NULL_QUERY, Prompt, question
from rerank.model import Model
from rerank.packed import end_to_end, read_prefix, run_held
from rerank.profile import Group, HeadProfile, ModelIdentity, check_profile, shipped_profile
from rerank.read.documents import KeptDocuments
from rerank.read.heads import ReadHeads
from rerank.read.question import QuestionPass
from rerank.store.types import StoreStats
from rerank.transfer import send


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How to read.

    `retrieval` names the KV groups that see documents; without it they follow from the profile's gates, of
    which a share `sparsity` does not, and without gates all do. The groups of scoring heads always see them.
    `memory` is bytes on the device for documents' keys and values: those of one list must fit. Passages are
    cut to `passage_tokens` (None: as the profile says), and the query stands `position` tokens behind the
    prefix (None: as the profile says, and behind the longest passage). `calibrate` and `drop_low` are joint
    mode's (`rerank.icr.IcrOptions`).
    """

    sparsity: float = 0.5
    retrieval: tuple[Group, ...] | None = None
    memory: int = 1 << 30
    passage_tokens: int | None = None
    position: int | None = None
    calibrate: bool = True
    drop_low: bool = True


class ReadReranker:
    """Scores passages by the attention that a question pays to them, each encoded alone; safe for threads."""

    def __init__(
        self, model: Model, profile: HeadProfile | None = None, options: ReadOptions | None = None
    ) -> None:
        """Read the prefix and make room; without a profile, the shipped one, or all heads alike.

        Raises `BadProfile` for a profile of another model, `BadHeads` where no head would score,
        `ContextTooSmall` and `StoreUnusable` where not one passage would fit.
        """
        self.model, self.options = model, options or ReadOptions()
        profile = profile or shipped_profile(model) or HeadProfile(ModelIdentity.of(model))
        check_profile(profile, model)
        tokens = self.options.passage_tokens or profile.passage_tokens
        position = self.options.position
        if position is None:
            # A question within a passage reads little of it; half of the context is the question's.
            position = max(profile.position, min(tokens, model.shape.context // 2))
        self.profile = replace(profile, passage_tokens=tokens, position=position)
        self.heads = ReadHeads.of(model, self.profile, self.options.retrieval, self.options.sparsity)
        self._layers = self.heads.layers(model.shape, model.device)
        with model.turn:
            self._prompt = Prompt.of(model)
            self._prefix = read_prefix(model, self._prompt.before, self.heads.last + 1)
        longest = min(self.profile.passage_tokens, model.shape.context - self._prefix.next)
        if longest < 1:
            raise ContextTooSmall(
                f"the {self._prefix.length} tokens before the passages fill the {model.shape.context} that "
                f"{model.name} reads: use a model with a longer context"
            )
        self._texts = TextReader(model, self.profile, self._prefix, self._prompt)
        self.documents = KeptDocuments(
            model, self._prefix, self.heads.groups, memory=self.options.memory, longest=longest
        )

    def count_to(self, counted: Counted) -> None:
        """Tell `counted` of every token that the model runs, for whomever it does."""
        self.model.counted = counted

    def read(self, query: str, passages: Sequence[str]) -> Reading:
        """Score `passages` for `query`. No passages give an empty reading.

        Scores are comparable within this reading only. Raises `ContextTooSmall` when the question does not
        fit the model's context, or the passages' keys and values their memory, and `NumericalError` when
        the model's attention is not finite.
        """
        if not passages:
            return Reading([], [], [], 0)
        with self.model.turn:
            return self._read(query, passages)

    def stats(self) -> Mapping[str, StoreStats]:
        """What the place for documents holds and has done."""
        return {"memory": self.documents.stats()}

    @torch.inference_mode()
    def _read(self, query: str, passages: Sequence[str]) -> Reading:
        calibrate, device = self.options.calibrate, self.model.device
        ending, null = self._ending(query), self._ending(NULL_QUERY)
        # The null query itself runs once, so that calibration leaves exactly 0 of it.
        endings = [ending, null] if calibrate and ending != null else [ending]
        texts = self._texts.tokenize(passages)
        lengths = [len(text.tokens) for text in texts]
        rows = self.documents.rows(passages, texts)
        places = send(torch.cat([torch.arange(length) for length in lengths]), device)
        first = self._prefix.next + self.profile.position
        tokens, positions = end_to_end(endings, first, device)
        held = QuestionPass(
            self._prefix,
            self.documents,
            rows,
            places,
            self._layers,
            [len(own) for own in endings],
            first=first,
            unscored=len(self._prompt.between),
        )
        run_held(self.model, tokens, positions, held)
        self.model.counted("rerank_query", sum(map(len, endings)))
        drawn = calibrated(held.drawn, self.model, calibrate=calibrate)
        scored = [
            passage_score(drawn[start:end], end - start, text.characters, drop_low=self.options.drop_low)
            for text, (start, end) in zip(texts, pairwise(accumulate(lengths, initial=0)), strict=True)
        ]
        return Reading(
            [score for score, _ in scored],
            [own for _, own in scored],
            [text.cut for text in texts],
            self._prefix.length + sum(lengths),
        )

    def _ending(self, query: str) -> list[int]:
        """What follows the passages: instruction, question, end of the chat template."""
        own = self.model.encode([question(query)])[0]
        before, after = self._prompt.between, self._prompt.after
        taken = self._prefix.next + self.profile.position + len(before) + len(after)
        room = self.model.shape.context - taken
        if len(own) > room:
            raise ContextTooSmall(
                f"the question takes {len(own)} tokens and {self.model.name} has room for {max(room, 0)} "
                "behind the passages. Shorten it or use a model with a longer context"
            )
        return before + own + after

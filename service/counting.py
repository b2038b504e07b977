"""Has the parts that do the work tell the counters of it: tokens, and the passes that requests share.

Knows parts and metrics; nothing of HTTP. Of the arena's systems only the tokens of a model that they share
with the parts are counted.
"""

from rerank.counts import Counts, TokenKind
from service.metrics import Metrics
from service.parts import Parts


def count(parts: Parts, metrics: Metrics) -> None:
    """Let `metrics` hear what `parts` do from now on."""

    def counted(kind: TokenKind, tokens: int) -> None:
        metrics.tokens.labels(kind).inc(tokens)

    reranker: object = parts.reranker
    others: list[object] = [*parts.modes.values(), parts.generator]
    for part in (reranker, *others):
        if isinstance(part, Counts):
            part.count_to(counted)
    if not isinstance(reranker, Counts):
        return
    # Not at the top: they load torch, which a process that does not re-rank does without.
    from ragnarok.rerankers import LateAttentionReranker
    from rerank.late.batcher import Pass

    def told(one: Pass) -> None:
        metrics.batch_requests.observe(one.requests)
        metrics.batch_texts.observe(one.texts)
        metrics.batch_read.observe(one.read)

    if isinstance(reranker, LateAttentionReranker):
        reranker.batcher.told = told

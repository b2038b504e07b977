"""What puts hits in a better order; one re-ranker, one file."""

from ragnarok.rerankers.attention import AttentionReranker
from ragnarok.rerankers.keep import KeepOrder
from ragnarok.rerankers.late import EVIDENCE, LateAttentionReranker

__all__ = ["EVIDENCE", "AttentionReranker", "KeepOrder", "LateAttentionReranker"]

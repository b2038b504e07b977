"""What puts hits in a better order; one re-ranker, one file."""

from ragnarok.rerankers.attention import AttentionReranker
from ragnarok.rerankers.keep import KeepOrder

__all__ = ["AttentionReranker", "KeepOrder"]

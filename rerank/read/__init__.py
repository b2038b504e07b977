"""Read mode: a question reads documents that were encoded once, alone, all of them at the same positions."""

from rerank.read.reranker import ReadOptions, ReadReranker

__all__ = ["ReadOptions", "ReadReranker"]

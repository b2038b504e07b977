"""The three seams, done by other services over HTTP; one seam, one file."""

from service.clients.generator import RemoteGenerator
from service.clients.reranker import RemoteReranker
from service.clients.retriever import RemoteRetriever
from service.clients.upstream import Upstream

__all__ = ["RemoteGenerator", "RemoteReranker", "RemoteRetriever", "Upstream"]

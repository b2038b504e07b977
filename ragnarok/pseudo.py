"""Label-free lists to fit on: queries drawn from the user's own passages, what else BM25 finds as rivals.

A query is drawn in one of three ways, in turn: a sentence of the passage, its rarest words in their order,
or its beginning (a title where there is one). The passage it was drawn from is the one that answers; BM25's
other hits are graded 0. The sentence stays in the passage: a query that repeats its words is what BM25 is
good at, and its rivals share these words too.
"""

import random
import re
from collections import Counter

from indexes import open_index
from ragnarok.query import clean_query
from ragnarok.types import Passage
from rerank.ridge import RankedList

RIVALS = 20
"""Hits of a drawn query that make a list."""

_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_WORD = re.compile(r"[^\W_]{3,}")


def pseudo_lists(name: str, count: int, seed: int) -> list[RankedList]:
    """`count` lists from an index, the same for the same seed. Raises `IndexNotFound` and `SearchError`."""
    chance = random.Random(seed)
    with open_index(name) as index:
        passages = index.sample(count, seed)
        seen = Counter(word for passage in passages for word in set(_words(passage.contents)))
        queries = [_query(passage, turn, seen, chance) for turn, passage in enumerate(passages)]
        results = index.search(queries, RIVALS, method="bm25")
    lists = []
    for passage, query, hits in zip(passages, queries, results, strict=True):
        found = {hit.docid: (hit.rank, hit.score, hit.passage.contents) for hit in hits}
        # One that was not found would have had no better score than the last.
        least = min((hit.score for hit in hits), default=0.0)
        found.setdefault(passage.docid, (RIVALS + 1, least, passage.contents))
        if len(found) < 2:
            continue
        order = list(found)
        chance.shuffle(order)
        lists.append(
            RankedList(
                query,
                [found[docid][2] for docid in order],
                [float(docid == passage.docid) for docid in order],
                [found[docid][0] for docid in order],
                [found[docid][1] for docid in order],
                [1.0],
                f"{name} (label-free)",
            )
        )
    return lists


def _query(passage: Passage, turn: int, seen: Counter[str], chance: random.Random) -> str:
    if turn % 3 == 0:
        sentences = [part for part in _SENTENCE.split(passage.text) if len(part.split()) >= 5]
        words = chance.choice(sentences or [passage.contents]).split()[:20]
    elif turn % 3 == 1:
        own = list(dict.fromkeys(_words(passage.contents)))
        rare = set(sorted(own, key=lambda word: seen[word])[: chance.randint(2, 4)])
        words = [word for word in own if word in rare]
    else:
        words = passage.contents.split()[:8]
    return clean_query(" ".join(words) or passage.docid)


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(text)]

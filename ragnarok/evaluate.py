"""How good a run is: judgments read, measures computed by ir_measures, two runs compared.

The rank column decides the order of a run, not its scores: where printed scores tie, a tool that sorts
by score would compare docids. Every judged topic counts; one that the run lacks scores 0 and is named.

Knows nothing of how runs are made. ir_measures is imported where it is used: nothing else needs it.
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import SubprocessError
from typing import TYPE_CHECKING, Any

import numpy as np

from ragnarok.errors import BadFormat, NotFound
from ragnarok.trec.files import bad_line, read_lines

if TYPE_CHECKING:
    from ir_measures import Measure

    from ragnarok.trec.runs import RunEntry

__all__ = ["Comparison", "Evaluation", "Qrels", "compare", "evaluate", "read_qrels"]

Qrels = dict[str, dict[str, int]]
"""Judgments: grade by topic and docid."""

_EXAMPLES = "nDCG@10, R@100, RR@10, P@5, AP, AP(rel=2)@100"
_GRADE = re.compile(r"[+-]?\d{1,6}", re.ASCII)
_LARGEST = 999_999
"""Of a grade, a cutoff, a `rel`: pytrec_eval makes room for every grade up to the highest."""
_FAILURES = (AssertionError, KeyError, RuntimeError, SubprocessError, TypeError, ValueError)
"""What those raise to whom ir_measures leaves the computing."""
_EXACT_TOPICS, _SAMPLES, _SEED = 14, 20_000, 13


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Measures of one run: means over the judged topics, and each topic's values.

    `missing` are judged topics that the run lacks (they count as 0); `unjudged` are the run's topics
    without judgments (they are left out).
    """

    mean: dict[str, float]
    topics: dict[str, dict[str, float]]
    missing: tuple[str, ...]
    unjudged: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs by one measure, topic by topic; `difference` is A's mean less B's.

    `p_value` is two-sided, of a paired randomisation test: how often a difference as large arises when
    the two runs' names are swapped at random within topics.
    """

    measure: str
    mean_a: float
    mean_b: float
    difference: float
    wins: int
    losses: int
    ties: int
    p_value: float


def read_qrels(path: str | Path) -> Qrels:
    """Read judgments: BEIR's three columns (with or without header) or TREC's four; gzip by suffix.

    Raises:
        NotFound: there is no such file.
        BadFormat: a line is wrong, a document has two grades in a topic, or there are no judgments.
    """
    path = Path(path)
    qrels: Qrels = {}
    width = 0
    for number, line in read_lines(path):
        columns = line.split()
        first, width = not width, width or len(columns)
        if len(columns) != width or width not in {3, 4}:
            allowed = "'query-id corpus-id score' or 'topic 0 docid grade'"
            raise bad_line(path, number, f"has {len(columns)} columns; judgments have {allowed}")
        if first and columns[0] in {"query-id", "query_id", "qid"}:
            continue
        qid, docid, grade = columns[0], columns[-2], columns[-1]
        if not _GRADE.fullmatch(grade):
            raise bad_line(path, number, f"grade {grade!r} is not a whole number up to {_LARGEST:,}")
        if qrels.setdefault(qid, {}).setdefault(docid, int(grade)) != int(grade):
            raise bad_line(path, number, f"docid {docid!r} has a second grade in topic {qid!r}")
    if not qrels:
        raise BadFormat(f"{path}: has no judgments")
    return qrels


def evaluate(
    run: Mapping[str, Sequence["RunEntry"]], qrels: Mapping[str, Mapping[str, int]], measures: Sequence[str]
) -> Evaluation:
    """Measure a run against judgments; measures are named as ir_measures names them (`nDCG@10`).

    Raises:
        NotFound: a measure that is not known, or that needs something else installed.
        BadFormat: there are no judgments.
    """
    import ir_measures

    if not qrels:
        raise BadFormat("there are no judgments to evaluate against")
    parsed = {name: _parse_measure(name) for name in measures}
    ranked = {
        # By place: ranks may tie, and a tie would be broken by docid.
        qid: {entry.docid: float(-place) for place, entry in enumerate(entries)}
        for qid, entries in run.items()
        if qid in qrels and entries
    }
    topics = {qid: dict.fromkeys(parsed, 0.0) for qid in qrels}
    for name, measure in parsed.items():
        try:
            evaluator = ir_measures.evaluator([measure], {qid: dict(grades) for qid, grades in qrels.items()})
            values = list(evaluator.iter_calc(ranked))
        except _FAILURES as error:
            raise _unknown(name, error) from error
        for value in values:
            if value.query_id in topics:
                topics[value.query_id][name] = float(value.value)
    mean = {name: float(np.mean([values[name] for values in topics.values()])) for name in parsed}
    return Evaluation(
        mean,
        topics,
        missing=tuple(qid for qid in qrels if qid not in ranked),
        unjudged=tuple(qid for qid in run if qid not in qrels),
    )


def compare(
    run_a: Mapping[str, Sequence["RunEntry"]],
    run_b: Mapping[str, Sequence["RunEntry"]],
    qrels: Mapping[str, Mapping[str, int]],
    measure: str,
) -> Comparison:
    """Compare two runs by one measure over all judged topics."""
    a, b = (evaluate(run, qrels, [measure]) for run in (run_a, run_b))
    differences = np.array([a.topics[qid][measure] - b.topics[qid][measure] for qid in qrels])
    return Comparison(
        measure,
        mean_a=a.mean[measure],
        mean_b=b.mean[measure],
        difference=a.mean[measure] - b.mean[measure],
        wins=int((differences > 0).sum()),
        losses=int((differences < 0).sum()),
        ties=int((differences == 0).sum()),
        p_value=_randomisation(differences[differences != 0]),
    )


def _randomisation(differences: "np.ndarray[Any, np.dtype[np.float64]]") -> float:
    """The share of sign patterns whose sum is as far from 0: all patterns of few topics, or a sample."""
    n = len(differences)
    if n <= _EXACT_TOPICS:
        signs = np.array(list(itertools.product((-1.0, 1.0), repeat=n))).reshape(2**n, n)
    else:
        # The pattern observed is one of the sample, so that p is never 0. The seed makes it repeatable.
        drawn = np.random.default_rng(_SEED).choice([-1.0, 1.0], size=(_SAMPLES - 1, n))
        signs = np.vstack([np.ones((1, n)), drawn])
    observed = abs(differences.sum())
    return float(np.mean(np.abs(signs @ differences) >= observed * (1 - 1e-9)))


def _parse_measure(name: str) -> "Measure":
    import ir_measures

    try:
        measure = ir_measures.parse_measure(name)
        for parameter in ("cutoff", "rel"):
            value = measure.params.get(parameter, 1)
            # pytrec_eval ends the whole process at 0.
            if isinstance(value, int) and not 1 <= value <= _LARGEST:
                raise ValueError(f"{parameter} is from 1 to {_LARGEST:,}, not {value}")
    except (NameError, ValueError, TypeError, AssertionError) as error:
        raise _unknown(name, error) from error
    return measure


def _unknown(name: str, error: Exception) -> NotFound:
    reason = " ".join(str(error).split()).partition("; must be")[0]
    if isinstance(error, AssertionError):  # what ir_measures says when nothing can compute it as named
        reason = "it lacks a cutoff or has a parameter that does not fit"
    if isinstance(error, KeyError):
        reason = f"it has no parameter {error}"
    if isinstance(error, SubprocessError):  # gdeval, in Perl
        reason = "gdeval computes it, and takes topics only that are numbers and have a relevant document"
    return NotFound(f"measure {name!r} cannot be computed ({reason}); examples: {_EXAMPLES}")

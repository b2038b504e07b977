"""What a judge says of two answers in both orders, and what the two verdicts come to.

Knows nothing of who judges.
"""

from ragnarok.arena.types import Outcome, Verdicts

_SWAPPED: dict[Outcome, Outcome] = {"a": "b", "b": "a", "tie": "tie", "both_bad": "both_bad"}
_PLAIN: dict[Outcome, Outcome] = {"both_bad": "tie"}


def consistent(verdicts: Verdicts) -> bool:
    """Whether two verdicts are the same; that both are bad, and a tie, are one."""
    first, other = (_PLAIN.get(said, said) for said in verdicts)
    return first == _SWAPPED[other]


def settled(verdicts: Verdicts) -> Outcome:
    """What two verdicts come to; a tie where they disagree."""
    first, other = verdicts
    return first if first == _SWAPPED[other] else "tie"

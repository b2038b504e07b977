"""Battles that are kept, as who asks may see them, and the votes on them.

A battle is open, and blinded to everyone, until a person votes or a day has passed; from then on it shows
everything to everyone. Knows the store and the wire's forms; nothing of HTTP and of how battles run.
"""

from datetime import UTC, datetime, timedelta

from ragnarok.arena.masking import Mask
from ragnarok.arena.store import ArenaStore
from ragnarok.arena.tokens import SECONDS, Tokens
from ragnarok.arena.types import Battle, Output, System, Vote
from service.arena.schema import BlindRecord, BlindSide, CastVote, OpenRecord, OpenSide, Side, VoteRequest
from service.arena.voters import Voters
from service.errors import BattleOver, NoVoter


def is_open(created: datetime, votes: list[Vote], now: datetime) -> bool:
    """Whether a battle that was begun then, and has these votes, still waits for one."""
    voted = any(vote.kind == "human" for vote in votes)
    return not voted and now - created < timedelta(seconds=SECONDS)


class Records:
    """Reads battles and takes votes. Threads may share it; every method waits for the database."""

    def __init__(self, store: ArenaStore, tokens: Tokens, voters: Voters, mask: Mask) -> None:
        """Read and write `store`; what is blinded has `mask` over it."""
        self.store, self._tokens, self._voters, self._mask = store, tokens, voters, mask

    def token(self, battle_id: str, voter: str | None) -> str | None:
        """What is needed to vote on a battle, for its voter alone."""
        if voter is None or not self._voters.owns(voter, battle_id):
            return None
        return self._tokens.issue(battle_id, voter)

    def show(self, battle_id: str, voter: str | None) -> BlindRecord | OpenRecord:
        """A battle as `voter` may see it. Raises `NotFound`."""
        battle, votes = self.store.battle(battle_id), self.store.votes_on(battle_id)
        if is_open(battle.created, votes, datetime.now(UTC)):
            return BlindRecord.of(self._mask.battle(battle), self.token(battle_id, voter))
        return self._over(battle, votes, voter)

    def blinded(self, battle_id: str) -> tuple[BlindSide, BlindSide]:
        """Both sides as they are shown before the vote. Raises `NotFound`."""
        battle = self._mask.battle(self.store.battle(battle_id))
        return (
            BlindSide.of("a", battle.a.answer, battle.a.hits),
            BlindSide.of("b", battle.b.answer, battle.b.hits),
        )

    def vote(self, battle_id: str, voter: str | None, said: VoteRequest) -> OpenRecord:
        """Keep a vote, and show the battle; a repeated vote changes nothing and shows the same.

        Raises `NoVoter`, `BadToken`, `NotFound` and `BattleOver`.
        """
        if voter is None:
            raise NoVoter(
                "a vote comes with the cookie that was set when its battle began, and this one has none; "
                "allow this site its cookie, and begin another battle"
            )
        ticket = self._tokens.read(said.token, battle_id, voter)
        battle, votes = self.store.battle(battle_id), self.store.votes_on(battle_id)
        now = datetime.now(UTC)
        if not any(vote.voter == voter for vote in votes):
            if not is_open(battle.created, votes, now):
                raise BattleOver("this battle is over, and who met is known; begin another one")
            vote = Vote(battle_id, voter, "human", now, said.answer, said.evidence, tuple(said.tags))
            self.store.add_vote(vote, ticket.token_id)
            votes = self.store.votes_on(battle_id)
        return self._over(battle, votes, voter)

    def _over(self, battle: Battle, votes: list[Vote], voter: str | None) -> OpenRecord:
        systems = {system.name: system for system in self.store.systems()}

        def side(name: Side, output: Output) -> OpenSide:
            return OpenSide.of(name, output, systems.get(output.system, System(output.system)))

        mine = next((vote for vote in votes if vote.voter == voter), None)
        return OpenRecord(
            id=battle.battle_id,
            question=battle.question,
            topics=battle.topics,
            qid=battle.qid,
            created=battle.created,
            seed=battle.seed,
            a=side("a", battle.a),
            b=side("b", battle.b),
            votes=[CastVote.of(vote) for vote in votes],
            mine=None if mine is None else CastVote.of(mine),
        )

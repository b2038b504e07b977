"""`ragnarok arena judge`: a model's votes."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from ragnarok.arena.types import Board
from ragnarok.cli.arena.shared import STORE, Store, opened
from ragnarok.cli.console import Steps, err, out, print_json
from ragnarok.cli.options import Json, ModelName, OpenAIModel, OpenAITimeout, OpenAIUrl, read_openai

if TYPE_CHECKING:
    from ragnarok.arena.agreement import Consistency
    from ragnarok.arena.judge import Judge
    from ragnarok.arena.store import ArenaStore


def judge(
    store: Store = STORE,
    model: ModelName = "smollm2-135m",
    openai_base_url: OpenAIUrl = "",
    openai_model: OpenAIModel = "",
    openai_timeout: OpenAITimeout = 60.0,
    board: Annotated[
        Board | None, typer.Option(help="Vote on this alone: answer or evidence. Default: on both.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many battles.")] = None,
    json: Json = False,
) -> None:
    """Have a model vote on every battle that it has not voted on: a model here, or one behind an endpoint.

    Each battle is judged in both orders; where the two disagree, the vote is a tie. Votes are kept as they
    come, as those of a model: run the command again after an interruption and it goes on. With
    --openai-base-url the endpoint's model judges. At the end it is told how often the model has said the
    same in both orders, on all battles so far. A battle of which it gives no verdict is passed over, and the
    exit code is then 5.

    Example: ragnarok arena judge --openai-base-url http://localhost:8000/v1 --openai-model large
    """
    from ragnarok.arena.agreement import consistency

    steps = Steps()
    boards: tuple[Board, ...] = ("answer", "evidence") if board is None else (board,)
    with opened(store) as arena, _judge(model, openai_base_url, openai_model, openai_timeout, steps) as asked:
        kept, mute = _judge_all(arena, asked, boards, limit, steps)
        said = {one: arena.orders(one).get(asked.name) for one in boards}
    same = {one: consistency(verdicts) for one, verdicts in said.items() if verdicts}
    if json:
        told = {one: asdict(found) for one, found in same.items()}
        print_json({"judge": asked.name, "votes": kept, "consistency": told})
    else:
        out.print(f"{kept} votes of {asked.name} are new", markup=False)
        _print_consistency(same)
    _refuse_mute(asked.name, mute)


def _judge_all(
    arena: "ArenaStore", asked: "Judge", boards: tuple[Board, ...], limit: int | None, steps: Steps
) -> tuple[int, list[str]]:
    """How many votes are new, and the battles without a verdict, which keep no other from having one."""
    from ragnarok.arena.judge import judge_battle
    from ragnarok.errors import NoVerdict
    from rerank.errors import ContextTooSmall

    waiting = arena.unjudged(asked.name)[:limit]
    kept, mute = 0, []
    with steps.stages(f"{len(waiting)} battles judged by {asked.name}") as progress:
        for number, battle_id in enumerate(waiting):
            progress("battles", number, len(waiting))
            try:
                kept += arena.add_vote(judge_battle(asked, arena.battle(battle_id), boards))
            except (NoVerdict, ContextTooSmall) as error:
                err.print(f"passed over: {battle_id}: {error}", markup=False, soft_wrap=True)
                mute.append(battle_id)
        progress("battles", len(waiting), len(waiting))
    return kept, mute


def _refuse_mute(name: str, mute: list[str]) -> None:
    """Raise `NoVerdict` if any battle was passed over."""
    from ragnarok.errors import NoVerdict

    if mute:
        raise NoVerdict(
            f"{name} gave no verdict on {len(mute)} battles, {mute[0]!r} for one; run the command again to "
            "ask once more, or choose another model as judge"
        )


def _print_consistency(same: Mapping[Board, "Consistency"]) -> None:
    for board, found in same.items():
        out.print(
            f"{board}: the same in both orders {found.consistent:.0%} of {found.pairs} times "
            f"({found.low:.0%} to {found.high:.0%}); always the left {found.left:.0%}, "
            f"always the right {found.right:.0%}",
            soft_wrap=True,
            markup=False,
        )


@contextmanager
def _judge(model: str, base_url: str, openai_model: str, timeout: float, steps: Steps) -> Iterator["Judge"]:
    # Here, not at the top: torch takes seconds to import, and `--help` needs none of it.
    from ragnarok.arena.judge import ModelJudge
    from ragnarok.arena.speakers import EndpointSpeaker, LocalSpeaker
    from ragnarok.pipeline import close_parts
    from rerank.model import load_model

    options = read_openai("openai", base_url, openai_model, timeout) if base_url or openai_model else None
    if options is None:
        with steps.step("model ready"):
            speaker: EndpointSpeaker | LocalSpeaker = LocalSpeaker(load_model(model))
    else:
        speaker = EndpointSpeaker(options)
    try:
        yield ModelJudge(speaker)
    finally:
        close_parts(speaker)

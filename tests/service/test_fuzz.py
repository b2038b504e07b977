"""Every role of the service against its own description: what is drawn from it, and what breaks it.

Real servers over fakes; each route is sent what its schema allows and what it forbids, the same each time.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.config import SchemathesisConfig
from schemathesis.schemas import BaseSchema

from indexes import Index
from service.app import create_app
from service.library import Library
from service.parts import Parts
from service.settings import STAGES, Settings
from tests.service.arena.fakes import parts_of, quick
from tests.service.fakes import Reciter, Reverser, Shelf, a_pipeline
from tests.service.running import WAIT, served, server_of

EXAMPLES = 10
"""Requests drawn for each route, beside those that go through its schema one rule after the other."""

Case = schemathesis.Case[Any]

DRAWN = {"deterministic": True, "database": "none", "max-examples": EXAMPLES}
CHECKS = {
    # It knows no reason to refuse but the schema; ours, below, knows the others too.
    "positive_data_acceptance": {"enabled": False},
}

Address = Callable[[str], str]


def settings_of(role: str, address: Address = lambda _: "http://localhost:1") -> Settings:
    """Settings of a service of this role, whose stages are at an `address` if others do them."""
    elsewhere = {f"{stage}_url": address(stage) for stage in STAGES if role == "gateway"}
    return Settings.model_validate({"serve": role, "index": "small", **elsewhere})


def described(role: str) -> BaseSchema:
    """What a service of this role says of itself."""
    # Rule by rule in one role: the others have the same routes, and differ in what stands behind them.
    return _drawn_from(settings_of(role), rule_by_rule=role == "all")


def described_arena() -> BaseSchema:
    """What a service with an arena says of the arena."""
    schema = _drawn_from(Settings.model_validate({"arena": "arena.toml"}), rule_by_rule=True)
    return schema.include(path_regex="^/v1/arena/")


def _drawn_from(chosen: Settings, *, rule_by_rule: bool) -> BaseSchema:
    document = create_app(chosen, Parts()).openapi()
    config = {
        "seed": 7,
        "generation": DRAWN,
        "phases": {"coverage": {"enabled": rule_by_rule}},
        "checks": CHECKS,
    }
    return schemathesis.openapi.from_dict(document, config=SchemathesisConfig.from_dict(config))


@pytest.fixture(scope="module")
def address(small_index: Index) -> Iterator[Address]:
    """Where a service of a role runs, which is started when it is first asked for."""
    with ExitStack() as stack:

        @cache
        def start(role: str) -> str:
            chosen = settings_of(role, start)
            parts = Parts(Shelf(), Reverser(), Reciter(), library=Library({"small": small_index}, chosen))
            return stack.enter_context(server_of(None if role == "gateway" else parts, chosen))

        yield start


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a service with an arena of two systems runs."""
    store = tmp_path_factory.mktemp("arena") / "arena.db"
    with parts_of(store) as parts, served(create_app(quick(), a_pipeline(), parts)) as address:
        yield address


@pytest.fixture(scope="module")
def battle(arena: str) -> str:
    """A battle of that arena, whole and not voted on."""
    with httpx.Client(base_url=arena, timeout=WAIT) as client:
        started = client.post("/v1/arena/battles", json={"question": "How do I sort?"}).json()
        client.get(started["events"])
        return str(started["id"])


def is_accepted_or_has_a_reason(
    _: schemathesis.CheckContext, response: schemathesis.Response, case: Case
) -> None:
    """What the schema allows may be refused only for what no schema can say.

    An empty question, more than this service's limits, a model or method that it does not have, lists of
    different lengths: each has a type of its own, or is said by the schema's own code ("Value error"). And
    to JSON Schema 3.0 is an integer, which it is not here.
    """
    meant = case.meta is not None and case.meta.generation.mode is schemathesis.GenerationMode.POSITIVE
    if not meant or response.status_code not in {400, 415, 422}:
        return
    said = response.json()
    assert said["type"].startswith("urn:ragnarok:problem:"), said
    for wrong in said.get("errors", []):
        assert wrong["detail"].startswith(("Value error, ", "Input should be a valid integer")), said


def check(case: Case, address: str) -> None:
    """Send what was drawn, and hold the answer against the description."""
    case.call_and_validate(base_url=address, additional_checks=[is_accepted_or_has_a_reason])


thorough = settings(deadline=None, suppress_health_check=list(HealthCheck))


@described("all").parametrize()
@thorough
def test_all(case: Case, address: Address) -> None:
    check(case, address("all"))


@described("retrieval").parametrize()
@thorough
def test_retrieval(case: Case, address: Address) -> None:
    check(case, address("retrieval"))


@described("rerank").parametrize()
@thorough
def test_rerank(case: Case, address: Address) -> None:
    check(case, address("rerank"))


@described("generation").parametrize()
@thorough
def test_generation(case: Case, address: Address) -> None:
    check(case, address("generation"))


@described("gateway").parametrize()
@thorough
def test_gateway(case: Case, address: Address) -> None:
    check(case, address("gateway"))


@described_arena().parametrize()
@thorough
def test_arena(case: Case, arena: str, battle: str) -> None:
    check(case, arena)
    if "battle_id" in case.path_parameters:
        # Nobody draws the id of one that there is.
        case.path_parameters["battle_id"] = battle
        check(case, arena)

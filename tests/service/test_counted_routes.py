"""Every route that an application describes is counted by the path that it describes."""

import re

import pytest

from indexes import Index
from service.app import create_app
from service.library import Library
from service.parts import Parts
from service.settings import STAGES, Settings
from tests.service.fakes import Reciter, Reverser, Shelf
from tests.service.running import client_of


@pytest.mark.anyio
@pytest.mark.parametrize("role", ["all", *STAGES])
async def test_routes_are_counted_by_their_whole_path(role: str, small_index: Index) -> None:
    settings = Settings.model_validate({"serve": role, "index": "small"})
    parts = Parts(Shelf(), Reverser(), Reciter(), library=Library({"small": small_index}, settings))
    described: dict[str, dict[str, object]] = create_app(settings, parts).openapi()["paths"]
    async with client_of(parts, settings) as client:
        for path, methods in described.items():
            for method in methods:
                await client.request(method, re.sub(r"{\w+}", "small", path))
        text = (await client.get("/metrics")).text
    counted = set(re.findall(r'^ragnarok_requests_total\{.*route="([^"]*)"', text, re.MULTILINE))
    assert {re.sub(r":\w+}", "}", route) for route in counted} >= described.keys() - {"/metrics"}

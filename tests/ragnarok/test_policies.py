"""Attention policies by name, for a model and its profile."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from ragnarok.assemble import PipelineSettings, build_generator
from ragnarok.cli.options import PolicyName
from ragnarok.errors import BadSetting
from ragnarok.generators import LocalGenerator
from ragnarok.policies import make_policy
from rerank.errors import BadPolicy, BadProfile
from rerank.model import Model
from rerank.policies import POLICIES, DuoPolicy
from service.settings import Settings
from tests.ragnarok.test_threads import GATES, gated, look_briefly
from tests.rerank.test_late import profile_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", list(POLICIES))
def test_every_policy_can_be_had_by_its_name(
    small: Model, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_briefly(monkeypatch)
    settings = PipelineSettings(profile=gated(small), generator="local", policy=name)
    made = build_generator(small, settings)
    assert isinstance(made, LocalGenerator)
    assert made.options.policy.name == name
    # Where names are written for people, all of them are.
    [_, option] = get_args(PolicyName)
    assert name in option.help
    assert f"| `{name}` |" in (ROOT / "docs" / "service.md").read_text()
    assert name in str(Settings.model_fields["policy"].description)


@pytest.mark.parametrize("sparsity", [0, 0.25, 0.5, 1])
def test_gates_say_which_heads_keep_everything(small: Model, sparsity: float) -> None:
    assert make_policy("duo", small, gated(small), sparsity) == DuoPolicy.from_gates(GATES, sparsity)


def test_duo_needs_gates_of_this_model(small: Model) -> None:
    with pytest.raises(BadProfile, match="has no gates"):
        make_policy("duo", small, profile_of(small), 0.5)
    with pytest.raises(BadProfile, match="none comes with llama"):
        make_policy("duo", small, None, 0.5)
    profile = gated(small)
    other = replace(profile, model=replace(profile.model, vocabulary=7))
    with pytest.raises(BadProfile, match="vocabulary"):
        make_policy("duo", small, other, 0.5)


@pytest.mark.parametrize(("name", "sparsity", "said"), [("dou", 0.5, "full, streaming"), ("duo", 1.5, "1.5")])
def test_what_cannot_be_is_refused_before_a_model_is_loaded(name: str, sparsity: float, said: str) -> None:
    with pytest.raises(BadPolicy, match=said):
        PipelineSettings(policy=name, sparsity=sparsity)


def test_a_policy_for_quotations_is_refused(small: Model) -> None:
    with pytest.raises(BadSetting, match="quotes: choose the generator local"):
        build_generator(small, PipelineSettings(policy="streaming"))

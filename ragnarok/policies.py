"""Attention policies by name: what the model that writes keeps in view of its prompt.

`rerank.policies` holds the policies and their names; here each is made for a model, from its head profile
or from what it does, where it needs either.
"""

from rerank.errors import BadPolicy, BadProfile
from rerank.model import Model
from rerank.policies import POLICIES, DuoPolicy, FullPolicy, Policy, RazorPolicy
from rerank.profile import HeadProfile, check_profile

FULL = FullPolicy.name
"""The policy that keeps everything."""


def check_policy(name: str, sparsity: float) -> None:
    """Refuse, with `BadPolicy`, a name that no policy has and a share of heads that cannot be."""
    if name not in POLICIES:
        raise BadPolicy(f"there is no attention policy {name!r}: there are {', '.join(POLICIES)}")
    if not 0 <= sparsity <= 1:
        raise BadPolicy(f"sparsity is {sparsity}: it is the share of streaming heads, from 0 to 1")


def make_policy(name: str, model: Model, profile: HeadProfile | None, sparsity: float) -> Policy:
    """The policy of this name for `model`.

    `duo` streams a share `sparsity` of the KV heads, those that need their context least by the profile's
    gates; `razor` looks for its heads now, by reading random tokens; the others know no heads. Raises
    `BadPolicy`, and `BadProfile` where gates are needed and not there, or are another model's.
    """
    check_policy(name, sparsity)
    kind = POLICIES[name]
    if issubclass(kind, DuoPolicy):
        return _duo(kind, model, profile, sparsity)
    if issubclass(kind, RazorPolicy):
        return kind.measure(model)
    return kind()


def _duo(kind: type[DuoPolicy], model: Model, profile: HeadProfile | None, sparsity: float) -> DuoPolicy:
    if profile is None:
        raise BadProfile(
            f"the policy {kind.name} needs a head profile with gates, and none comes with {model.name}: "
            "give one that has them (ragnarok heads train makes some)"
        )
    check_profile(profile, model)
    kept = set(profile.retrieval(sparsity))
    layers, heads = range(model.shape.layers), range(model.shape.kv_heads)
    return kind(tuple(tuple((layer, head) in kept for head in heads) for layer in layers))

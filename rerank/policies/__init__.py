"""Attention policies: which keys of a context stay in view. One technique, one file, one line here.

policy = DuoPolicy.from_gates(gates, sparsity=0.5)
cache = policy.cache(model.shape, capacity=8192)
model.read(tokens, cache)
"""

from rerank.policies.base import Policy
from rerank.policies.duo import DuoPolicy
from rerank.policies.full import FullPolicy
from rerank.policies.razor import RazorPolicy
from rerank.policies.streaming import StreamingPolicy

POLICIES: dict[str, type[Policy]] = {
    policy.name: policy for policy in (FullPolicy, StreamingPolicy, DuoPolicy, RazorPolicy)
}
"""Every policy by its exact name."""

__all__ = ["POLICIES", "DuoPolicy", "FullPolicy", "Policy", "RazorPolicy", "StreamingPolicy"]

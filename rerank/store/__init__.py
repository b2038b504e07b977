"""Where the states of documents live beyond device memory: tiers that keep what a model read once.

    from rerank.store.disk import DiskTier
    from rerank.store.key import document_key, scope_key

    scope = scope_key(model_digest, profile_digest, prompt, "bfloat16", 512)
    tier = DiskTier(folder, limit_bytes=10**10)
    [state] = tier.get([document_key(scope, text)])

A tier holds only what can be computed again: it may forget anything at any time, never answers with
another document's state, and never fails a caller. docs/store.md describes the bytes.
"""

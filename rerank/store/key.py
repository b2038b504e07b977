"""The address of a document's state: a digest of everything that the state depends on."""

import json
from functools import lru_cache
from hashlib import blake2b

SCHEME = 1
"""Part of every address. Raise it when the same inputs begin to give other states."""

REMEMBERED = 4_096
"""Characters of a text whose address is remembered: looking it up costs a fifth of computing it."""


def scope_key(model_digest: str, profile_digest: str, prompt: str, dtype: str, passage_tokens: int) -> str:
    """The address of what all documents of one engine share.

    The digests are of the model's weights and tokenizer and of the head profile; `prompt` is all text
    around the document, the null query's included; `dtype` names what keys are kept in.
    """
    parts = [SCHEME, model_digest, profile_digest, prompt, dtype, passage_tokens]
    return blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def document_key(scope: str, text: str) -> str:
    """The address of a text's state within a scope: 32 hexadecimal digits of BLAKE2b-128."""
    return _remembered(scope, text) if len(text) <= REMEMBERED else _address(scope, text)


def _address(scope: str, text: str) -> str:
    digest = _scoped(scope).copy()
    digest.update(text.encode(errors="surrogatepass"))
    return digest.hexdigest()


@lru_cache(maxsize=16_384)
def _remembered(scope: str, text: str) -> str:
    return _address(scope, text)


@lru_cache(maxsize=64)
def _scoped(scope: str) -> blake2b:
    # The scope enters as the salt: it costs no block, and no scope and text can pass for another pair.
    salt = blake2b(scope.encode(errors="surrogatepass"), digest_size=blake2b.SALT_SIZE).digest()
    return blake2b(digest_size=16, salt=salt)

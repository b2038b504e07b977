"""Models that speak to a judge's message: one behind an OpenAI-compatible endpoint, one of this process.

The endpoint's model writes freely; the one here says, of the replies that may be given, the one that it
finds likeliest: even a small model cannot reply out of form.
"""

from collections.abc import Sequence

import torch

from ragnarok.generators import OpenAIOptions
from ragnarok.generators.endpoint import Endpoint
from rerank.cache import PrefixCache
from rerank.errors import ContextTooSmall
from rerank.model import Model
from rerank.prompt import ChatFrame

MAX_TOKENS = 1024
"""Of a reply: enough for a model that thinks first."""


class EndpointSpeaker:
    """A model behind an endpoint. Safe for threads; to be closed."""

    def __init__(self, options: OpenAIOptions) -> None:
        """Take the endpoint; nothing is sent yet."""
        self.name = options.model
        key = options.api_key.get_secret_value()
        self._endpoint = Endpoint(options.base_url, options.model, key, options.timeout)

    def close(self) -> None:
        """Close the connections."""
        self._endpoint.close()

    def say(self, system: str, message: str, choices: Sequence[str]) -> str:
        """The model's reply. Raises `EndpointDenied` and its like."""
        del choices
        reply = self._endpoint.reply(
            [{"role": "system", "content": system}, {"role": "user", "content": message}], MAX_TOKENS
        )
        return "".join(reply)


class LocalSpeaker:
    """A model of this process. Safe for threads."""

    def __init__(self, model: Model) -> None:
        """Take a model."""
        self.name = model.name
        self._model = model

    def say(self, system: str, message: str, choices: Sequence[str]) -> str:
        """The likeliest of `choices`: the mean log-probability of its own tokens is the highest.

        Raises `ContextTooSmall` and `NumericalError`.
        """
        model = self._model
        with model.turn:
            frame = ChatFrame.of(model, system)
            (said,) = model.encode([message])
            prompt = model.encode_template(frame.before) + said + model.encode_template(frame.after)
            replies = model.encode(list(choices))
            # What all begin with says nothing of which it is.
            shared = _shared(replies)
            prompt += replies[0][:shared]
            replies = [reply[shared:] for reply in replies]
            if len(prompt) + max(map(len, replies)) > model.shape.context:
                raise ContextTooSmall(
                    f"{model.name} reads {model.shape.context} tokens, and the two sides have "
                    f"{len(prompt)}; judge with a model of a longer context"
                )
            cache = model.new_cache(len(prompt) + max(map(len, replies)))
            after = model.read(prompt, cache)
            scores = [self._likely(reply, after, cache) for reply in replies]
        return choices[scores.index(max(scores))]

    def _likely(self, reply: Sequence[int], hidden: torch.Tensor, cache: PrefixCache) -> float:
        """The mean log-probability of a reply's tokens behind what `cache` holds, which stays as it is."""
        length, total = cache.length, 0.0
        for token in reply:
            total += float(torch.log_softmax(self._model.logits(hidden), dim=-1)[token])
            hidden = self._model.read([token], cache)
        cache.rewind(length)
        return total / max(len(reply), 1)


def _shared(replies: Sequence[Sequence[int]]) -> int:
    """How many tokens all replies begin with."""
    places = enumerate(zip(*replies, strict=False))
    return next((place for place, tokens in places if len(set(tokens)) > 1), min(map(len, replies)))

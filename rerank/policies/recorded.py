"""Reading one token after another by a recording of the work.

A decode step of a large model is hundreds of small kernels, and starting them from Python takes longer than
running them. On a GPU the second step is recorded as a CUDA graph, and every later one replays it; elsewhere
each step runs as ever. It knows nothing of policies, only that a cache takes positions from the device.
"""

import torch
from torch import Tensor

from rerank.errors import ModelUnfit, NumericalError
from rerank.model import Model
from rerank.policies.cache import HeldCache


class RecordedSteps:
    """Reads tokens one at a time into a cache whose windows are full."""

    def __init__(self, model: Model, cache: HeldCache) -> None:
        """Take a model and a cache with a context in it.

        Raises `ModelUnfit` for layers that cap logits or have a window of their own, which are not recorded.
        """
        config = model.network.config.get_text_config()
        sliding = "sliding_attention" in (getattr(config, "layer_types", None) or [])
        sliding = sliding or bool(getattr(config, "sliding_window", None))
        if sliding or getattr(config, "attn_logit_softcapping", None):
            raise ModelUnfit(
                f"{model.name} has layers that cap logits or have a window of their own: its steps are not "
                "recorded. Read with Model.read"
            )
        if not cache.is_steady:
            raise ValueError(f"a cache of {cache.length} tokens is not full: read more before recording")
        self._model, self._cache = model, cache
        self._token = torch.zeros(1, 1, dtype=torch.long, device=model.device)
        self._position = torch.zeros(1, dtype=torch.long, device=model.device)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._hidden: Tensor | None = None

    @torch.inference_mode()
    def read(self, token: int) -> Tensor:
        """Read one token after what the cache holds: its hidden state `[hidden]`, valid until the next call.

        Raises `NumericalError` if that is not finite.
        """
        if self._cache.length >= self._cache.capacity:
            raise ValueError(f"the cache holds {self._cache.capacity} tokens, and one more was written")
        self._token.fill_(token)
        self._position.fill_(self._cache.length)
        if self._graph is not None:
            self._graph.replay()
        elif self._hidden is None or not self._token.is_cuda:
            # The first step, run as it is, loads what the recording needs.
            self._hidden = self._step()
        else:
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):
                self._hidden = self._step()
            self._graph.replay()
        self._cache.advance()
        assert self._hidden is not None
        if not torch.isfinite(self._hidden).all():
            raise NumericalError(
                f"{self._model.name} produced NaN or infinity; try another precision or model"
            )
        return self._hidden

    def _step(self) -> Tensor:
        with self._cache.at(self._position):
            states: Tensor = self._model.network.base_model(
                input_ids=self._token,
                past_key_values=self._cache,
                position_ids=self._position[None],
                use_cache=True,
                **self._cache.keywords,
            ).last_hidden_state
        return states[0, -1]

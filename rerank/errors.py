"""What can go wrong while a model is loaded or reads.

    RerankError
    ├── ModelNotFound    no model of this name, path or hub id
    ├── ModelUnfit       a model whose attention cannot be read, or whose weights cannot be loaded
    ├── ContextTooSmall  question and passages cannot share the model's context, however they are cut
    ├── BadHeads         a head that the model does not have, or no head at all
    └── NumericalError   the model produced NaN or infinity: no order is made of that

Every message names the value at fault and the way out.
"""


class RerankError(Exception):
    """Root of this room's errors."""


class ModelNotFound(RerankError):
    """No model of this name, path or hub id."""


class ModelUnfit(RerankError):
    """A model whose attention cannot be read, or whose weights cannot be loaded."""


class ContextTooSmall(RerankError):
    """Question and passages cannot share the model's context, however they are cut."""


class BadHeads(RerankError):
    """A head that the model does not have, or no head at all."""


class NumericalError(RerankError):
    """The model produced NaN or infinity: no order is made of that."""

"""What can go wrong while a model is loaded or reads.

    RerankError
    ├── ModelNotFound    no model of this name, path or hub id
    ├── ModelUnfit       a model whose attention cannot be read, or whose weights cannot be loaded
    ├── ContextTooSmall  question and passages cannot share the model's context or memory, however cut
    ├── BadHeads         a head that the model does not have, or no head at all
    ├── BadProfile       a head profile that breaks its format, or is of another model, shape or prompt
    ├── BadPolicy        an attention policy or gate training whose settings cannot be, or fit another model
    ├── TrainingConflict resumed gate training whose settings differ from those it was started with
    ├── StoreUnusable    a place for documents that cannot be opened
    ├── Overloaded       as many requests wait as may wait
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
    """Question and passages cannot share the model's context or memory, however they are cut."""


class BadHeads(RerankError):
    """A head that the model does not have, or no head at all."""


class BadProfile(RerankError):
    """A head profile that breaks its format, or is of another model, shape or prompt."""


class BadPolicy(RerankError):
    """An attention policy or gate training whose settings cannot be, or fit another model."""


class TrainingConflict(RerankError):
    """Resumed gate training whose settings differ from those it was started with."""


class NumericalError(RerankError):
    """The model produced NaN or infinity: no order is made of that."""


class StoreUnusable(RerankError):
    """A place for documents that cannot be opened."""


class Overloaded(RerankError):
    """As many requests wait as may wait."""

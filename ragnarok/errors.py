"""What can go wrong in the pipeline, and what each error of the house means outside it.

    RagnarokError
    ├── BadQuery        an empty or over-long question
    ├── BadFormat       a topics, run, qrels or answer file that breaks its format: file, line, what is wrong
    ├── NotFound        a file or setting that names nothing
    └── RunConflict     a resumed batch run whose settings differ from those it was started with

`indexes.errors` and `rerank.errors` are the two other branches; `OUTCOMES` below is the one table
from an error to its exit code and HTTP status.
"""


class RagnarokError(Exception):
    """Root of this room's errors."""


class BadQuery(RagnarokError):
    """An empty or over-long question."""


class BadFormat(RagnarokError):
    """A file that breaks its format: names the file, the line and what is wrong there."""


class NotFound(RagnarokError):
    """A file or setting that names nothing."""


class RunConflict(RagnarokError):
    """A resumed batch run whose settings differ from those it was started with."""

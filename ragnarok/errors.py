"""What can go wrong in the pipeline, and what each error of the house means outside it.

    RagnarokError
    ├── BadQuery        an empty or over-long question
    ├── BadFormat       a topics, run, qrels or answer file that breaks its format: file, line, what is wrong
    ├── NotFound        a file or setting that names nothing
    ├── BadSetting      a setting with a value that cannot be, or a name that is nearly one of ours
    ├── RunConflict     a resumed batch run whose settings differ from those it was started with
    ├── Unratable       votes from which no rating follows: systems that did not meet, style bound to them
    ├── ArenaConflict   a system, battle or vote that is kept already, and says something else
    ├── ArenaUnusable   an arena's database cannot be opened, reached or written
    ├── BadToken        a battle's token was changed, is too old, or is another voter's
    ├── NoVerdict       a model as judge said nothing that is a verdict
    ├── EndpointDenied        an endpoint, OpenAI's way or an arena's system, does not accept the key
    ├── EndpointRejected      it refuses the request: no such model, a prompt too long
    ├── EndpointBusy          it takes no more requests now
    ├── EndpointTimeout       it does not answer in time
    ├── EndpointUnreachable   it cannot be reached, or breaks the connection off
    └── EndpointBroken        it fails, or its answer is empty, cut off or in no known form

`indexes.errors` and `rerank.errors` are the two other branches; `OUTCOMES` below is the one table
from an error to its exit code and HTTP status.
"""

from dataclasses import dataclass

from indexes import errors as indexes
from rerank import errors as rerank


class RagnarokError(Exception):
    """Root of this room's errors."""


class BadQuery(RagnarokError):
    """An empty or over-long question."""


class BadFormat(RagnarokError):
    """A file that breaks its format: names the file, the line and what is wrong there."""


class NotFound(RagnarokError):
    """A file or setting that names nothing."""


class BadSetting(RagnarokError):
    """A setting with a value that cannot be, or a name that is nearly one of ours."""


class RunConflict(RagnarokError):
    """A resumed batch run whose settings differ from those it was started with."""


class ArenaConflict(RagnarokError):
    """A system, battle or vote that is kept already, and says something else: nothing kept is changed."""


class ArenaUnusable(RagnarokError):
    """An arena's database cannot be opened, reached or written."""


class BadToken(RagnarokError):
    """A battle's token was changed, is too old, or is another voter's."""


class NoVerdict(RagnarokError):
    """A model as judge said nothing that is a verdict."""


class Unratable(RagnarokError):
    """Votes from which no rating follows: systems that did not meet, or style bound to them."""


class EndpointDenied(RagnarokError):
    """An endpoint does not accept the key."""


class EndpointRejected(RagnarokError):
    """An endpoint refuses the request: no such model, a prompt too long."""


class EndpointBusy(RagnarokError):
    """An endpoint takes no more requests now."""


class EndpointTimeout(RagnarokError):
    """An endpoint does not answer in time."""


class EndpointUnreachable(RagnarokError):
    """An endpoint cannot be reached, or breaks the connection off."""


class EndpointBroken(RagnarokError):
    """An endpoint fails, or its answer is empty, cut off or in no known form."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an error means outside: a process's exit code, an HTTP status, and a title for people."""

    exit_code: int
    status: int
    title: str


INPUT, MISSING, MACHINE, INTERNAL = 3, 4, 5, 1
"""Exit codes: bad input, nothing of that name, the machine lacks something, a fault of ours. 2 is usage."""

OUTCOMES: dict[type[Exception], Outcome] = {
    BadQuery: Outcome(INPUT, 422, "The question cannot be used"),
    BadFormat: Outcome(INPUT, 422, "A file breaks its format"),
    NotFound: Outcome(MISSING, 404, "Nothing of that name"),
    BadSetting: Outcome(INPUT, 500, "A setting cannot be used"),
    RunConflict: Outcome(INPUT, 409, "The run cannot go on in this folder"),
    ArenaConflict: Outcome(INPUT, 409, "The arena keeps something else of that name"),
    ArenaUnusable: Outcome(MACHINE, 503, "The arena's database cannot be used"),
    BadToken: Outcome(INPUT, 403, "The battle's token cannot be used"),
    NoVerdict: Outcome(MACHINE, 502, "The judge gives no verdict"),
    Unratable: Outcome(INPUT, 422, "The votes cannot be rated"),
    EndpointDenied: Outcome(INPUT, 502, "The endpoint does not accept the key"),
    EndpointRejected: Outcome(INPUT, 502, "The endpoint refuses the request"),
    EndpointBusy: Outcome(MACHINE, 503, "The endpoint is busy"),
    EndpointTimeout: Outcome(MACHINE, 504, "The endpoint takes too long"),
    EndpointUnreachable: Outcome(MACHINE, 502, "The endpoint cannot be reached"),
    EndpointBroken: Outcome(MACHINE, 502, "The endpoint failed"),
    indexes.CorpusError: Outcome(INPUT, 422, "The corpus cannot be read"),
    indexes.SearchError: Outcome(INPUT, 422, "The search cannot be run"),
    indexes.IndexNotFound: Outcome(MISSING, 404, "No such index"),
    indexes.PassageNotFound: Outcome(MISSING, 404, "No such passage"),
    indexes.IndexBroken: Outcome(MACHINE, 503, "The index cannot be used"),
    indexes.IndexExists: Outcome(INPUT, 409, "The index exists"),
    indexes.EncoderNotFound: Outcome(MISSING, 404, "No such encoder"),
    indexes.DiskFull: Outcome(MACHINE, 507, "The disk is full"),
    indexes.JavaMissing: Outcome(MACHINE, 503, "Java is missing"),
    rerank.ModelNotFound: Outcome(MISSING, 404, "No such model"),
    rerank.ModelUnfit: Outcome(MACHINE, 503, "The model cannot be used"),
    rerank.ContextTooSmall: Outcome(INPUT, 422, "Too long for the model"),
    rerank.BadHeads: Outcome(INPUT, 422, "No such attention head"),
    rerank.BadProfile: Outcome(INPUT, 422, "The head profile cannot be used"),
    rerank.BadPolicy: Outcome(INPUT, 422, "The attention policy cannot be used"),
    rerank.TrainingConflict: Outcome(INPUT, 409, "The training was started with other settings"),
    rerank.StoreUnusable: Outcome(MACHINE, 503, "The document store cannot be used"),
    rerank.Overloaded: Outcome(MACHINE, 429, "Too many questions wait"),
    rerank.NumericalError: Outcome(INTERNAL, 500, "The model's numbers are not finite"),
}

FAULT = Outcome(INTERNAL, 500, "Something went wrong here")


def outcome_of(error: BaseException) -> Outcome:
    """What `error` means outside, by its exact type; `FAULT` for what the house does not know."""
    return OUTCOMES.get(type(error), FAULT) if isinstance(error, Exception) else FAULT

"""What can go wrong at the door, before or around the pipeline.

    ServiceError
    ├── Busy          as many requests wait as may wait
    ├── NotReady      the pipeline is still being loaded
    ├── OverLimit     more is asked for than one request may
    ├── BadMode       a way to re-rank that this process does not have
    ├── NoSuchModel   a client names a model that is not the one here
    ├── UpstreamFailed    a service that does a stage cannot be reached, or gives no answer that can be used
    ├── UpstreamTimeout   such a service says nothing for too long
    ├── Unauthorized      a request brings no API key, or one that is not known
    ├── LimitReached      a client has asked more than one client may
    ├── BodyTooSlow       a request's body takes too long to arrive
    ├── TookTooLong       a request takes longer than one may
    ├── SideFailed        one of a battle's two systems could not answer
    ├── NotFinished       a battle is voted on before both its answers are complete
    ├── BattleOver        a battle is voted on that waits for no vote any more
    ├── NoVoter           a vote comes without the cookie that says whose it is
    ├── ForeignOrigin     a page of another site asks in a visitor's name
    └── Stopping      the service is being shut down

`service.problems` says what each means to a client.
"""


class ServiceError(Exception):
    """Root of this room's errors."""


class Busy(ServiceError):
    """As many requests wait as may wait."""


class NotReady(ServiceError):
    """The pipeline is still being loaded."""


class Stopping(ServiceError):
    """The service is being shut down."""


class Unauthorized(ServiceError):
    """A request brings no API key, or one that is not known."""


class LimitReached(ServiceError):
    """A client has asked more than one client may."""

    def __init__(self, message: str, wait: float = 0.0) -> None:
        """Say which limit; `wait` is after how many seconds there is room again, 0 where nobody knows."""
        super().__init__(message)
        self.wait = wait


class BodyTooSlow(ServiceError):
    """A request's body takes too long to arrive."""


class TookTooLong(ServiceError):
    """A request takes longer than one may."""


class OverLimit(ServiceError):
    """More is asked for than one request may."""


class BadMode(ServiceError):
    """A way to re-rank that this process does not have."""


class NoSuchModel(ServiceError):
    """A client names a model that is not the one here."""


class UpstreamFailed(ServiceError):
    """A service that does a stage cannot be reached, or gives no answer that can be used."""

    def __init__(self, message: str, status: int = 0) -> None:
        """Say what failed; `status` is the HTTP status of an answer that nobody can use, 0 without one."""
        super().__init__(message)
        self.status = status


class UpstreamTimeout(ServiceError):
    """A service that does a stage says nothing for too long."""


class SideFailed(ServiceError):
    """One of a battle's two systems could not answer."""


class NotFinished(ServiceError):
    """A battle is voted on before both its answers are complete."""


class BattleOver(ServiceError):
    """A battle is voted on that waits for no vote any more."""


class NoVoter(ServiceError):
    """A vote comes without the cookie that says whose it is."""


class ForeignOrigin(ServiceError):
    """A page of another site asks in a visitor's name."""

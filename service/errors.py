"""What can go wrong at the door, before or around the pipeline.

    ServiceError
    ├── Busy          as many requests wait as may wait
    ├── NotReady      the pipeline is still being loaded
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

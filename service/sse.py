"""Server-sent events: how a route describes them. They are read by `ragnarok.sse`.

Knows nothing of what events say.
"""

from typing import Any


def event_content(*names: str) -> dict[str, Any]:
    """What a route's document says of a stream of events of these names, or of none; their data is JSON."""
    data = {"type": "string", "contentMediaType": "application/json"}
    named = {"event": {"type": "string", "enum": list(names)}} if names else {}
    item = {"type": "object", "required": [*named, "data"], "properties": {**named, "data": data}}
    return {"text/event-stream": {"itemSchema": item}}

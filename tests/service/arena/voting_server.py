"""An arena of fakes to be killed: `python -m tests.service.arena.voting_server STORE PORT`."""

import sys

import uvicorn

from service.app import create_app
from tests.service.arena.fakes import parts_of, quick
from tests.service.fakes import a_pipeline

if __name__ == "__main__":
    with parts_of(sys.argv[1]) as parts:
        app = create_app(quick(max_waiting=10_000), a_pipeline(), parts)
        uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="error")

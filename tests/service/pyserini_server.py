"""Pyserini's own REST server over an index here: python -m tests.service.pyserini_server FOLDER NAME.

Not as it comes: the index that would be downloaded at the start is the one in FOLDER, and NAME is one of
those that Pyserini knows. The port is a free one, which is printed.
"""

import os
import socket
import sys
from types import ModuleType

import uvicorn

from indexes import java


def main(folder: str, name: str) -> None:
    """Serve until stopped."""
    os.environ.setdefault("OPENAI_API_KEY", "none")  # A client is made of it at import.
    java.classes("java.lang.String")
    from pyserini.search.lucene import LuceneSearcher

    # The encoder of images is a package of its own, and nothing here needs it.
    images = ModuleType("pyserini.encode.optional._uniir")
    vars(images)["UniIRQueryEncoder"] = object
    sys.modules[images.__name__] = images
    LuceneSearcher.from_prebuilt_index = classmethod(lambda of, *_, **__: of(folder))
    from pyserini.server import search_controller

    search_controller.INDEX_TYPE["tf"][name] = {}
    from pyserini.server.rest.app import app

    with socket.create_server(("127.0.0.1", 0)) as door:
        print(door.getsockname()[1], flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none")).run(sockets=[door])


if __name__ == "__main__":
    main(*sys.argv[1:])

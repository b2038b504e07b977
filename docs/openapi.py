"""Writes docs/openapi.json: what the one-process service offers, for clients and their generators.

python docs/openapi.py
"""

import json
from pathlib import Path

from service.app import create_app
from service.parts import Parts
from service.settings import Settings

TARGET = Path(__file__).with_name("openapi.json")


def document() -> str:
    """The document as it is kept: sorted, so that changes can be read."""
    settings = Settings.model_construct(arena=Path("arena.toml"))
    described = create_app(settings, Parts()).openapi()
    return json.dumps(described, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    TARGET.write_text(document(), encoding="utf-8")

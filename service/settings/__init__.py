"""What the service is told from outside: environment variables that begin with RAGNAROK_, and a file.

The file is TOML, each setting by its name; the variable RAGNAROK_SETTINGS names it. The environment wins.
Knows which values are possible, and what they mean to the pipeline; not how anything is built of them.
One module a subject; others import what they need from here.
"""

from service.settings.loading import load_settings
from service.settings.reranking import Device
from service.settings.settings import Settings
from service.settings.sources import variable
from service.settings.stages import STAGES
from service.settings.values import split_list

__all__ = ["STAGES", "Device", "Settings", "load_settings", "split_list", "variable"]

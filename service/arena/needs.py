"""What an arena needs that a service without one does without.

Loads none of it: it is asked before anything of an arena is loaded.
"""

from importlib.util import find_spec

from ragnarok.errors import BadSetting
from service.settings import variable

PACKAGES = ("httpx", "itsdangerous", "matplotlib", "scipy", "sqlalchemy")
"""As pip names them, and as they are imported."""


def check_packages() -> None:
    """Refuse an arena where its packages are not installed. Raises `BadSetting`, which names them."""
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise BadSetting(
            f"{variable('arena')} needs packages that are not here ({', '.join(missing)}): serve it from the "
            f"image of the target arena (docker/compose.arena.yaml), or pip install {' '.join(missing)}"
        )

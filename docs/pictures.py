"""Makes the README's picture of the terminal: `python docs/pictures.py`, with the demo index built.

The pages' are made by `docs/pages.py`.
"""

import subprocess
import sys
from pathlib import Path


def main() -> None:
    """Have `ragnarok demo --picture` draw it."""
    program = Path(sys.executable).parent / "ragnarok"
    subprocess.run([program, "demo", "--picture", Path(__file__).with_name("demo.svg")], check=True)


if __name__ == "__main__":
    main()

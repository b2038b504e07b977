"""The GPU image, built for real and run without a GPU, where that is asked for: it takes gigabytes."""

import os
from pathlib import Path

import pytest
import yaml

from tests.docker.running import COMPOSE, GPU, QUICK_INDEX, check_beside, on_top

ASKED = "RAGNAROK_CONTAINERS_GPU"
"""Environment variable: 1 has the GPU image built and run, beside the others."""
SECONDS = 3600
ROOM = 19
"""Gigabytes that must be free on the disk while the image is built."""


def without_gpus(file: Path) -> Path:
    """The GPU compose file less the GPUs that its services are to have, written to `file`."""
    loaded = yaml.safe_load(GPU.read_text())
    for service in loaded["services"].values():
        service.pop("deploy", None)
        service.pop("environment", None)
    return on_top(file, loaded["services"])


@pytest.mark.skipif(
    os.environ.get(ASKED) != "1",
    reason=f"{ASKED} is not 1: the GPU image takes {ROOM} GB of disk while it is built, and minutes",
)
def test_the_gpu_image_serves_without_a_gpu_and_says_that_it_is_slow(tmp_path: Path) -> None:
    files = [COMPOSE, without_gpus(tmp_path / "gpu.yaml"), on_top(tmp_path / "index.yaml", QUICK_INDEX)]
    check_beside(files, "live_gpu.py", seconds=SECONDS)

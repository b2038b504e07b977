"""What is true of the GPU image's services on a machine without a GPU; `test_gpu.py` runs this beside them.

Not collected with the other tests: it wants the services of docker/compose.yaml, from the image model-gpu.
"""

import subprocess

import pytest

from tests.docker.outside import ENGINE, check_sources, container, engine, log_of, until_answered, until_ready

SERVICES = ["rerank-1", "rerank-2", "generation"]
SLOW = "no GPU answers here: the model runs on the CPU, which is slow"


@pytest.fixture(scope="module", autouse=True)
def ready() -> None:
    """The gateway answers, and its first answer was had."""
    until_ready()
    until_answered()


def test_a_question_from_outside_is_answered_with_its_sources() -> None:
    check_sources("What does the yield statement do?", "topic/yield")


@pytest.mark.parametrize("service", SERVICES)
def test_a_gpu_image_without_a_gpu_says_so_once_and_serves(service: str) -> None:
    torch = "import torch; print(torch.version.cuda is not None, torch.cuda.is_available())"
    assert engine("exec", container(service), "python", "-c", torch) == "True False"
    assert log_of(service).count(SLOW) == 1


def test_a_service_that_is_to_have_a_gpu_does_not_start_without() -> None:
    start = ["python", "-m", "service", "--port", "8001"]
    words = [ENGINE, "exec", "--env", "RAGNAROK_DEVICE=cuda", container("rerank-1"), *start]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode
    said = done.stdout + done.stderr
    assert "A setting cannot be used: RAGNAROK_DEVICE=cuda, and no GPU answers here" in said
    assert "Traceback" not in said
    assert "built for CUDA" in said


def test_kernels_can_be_compiled_and_kept() -> None:
    build = 'cd "$TRITON_CACHE_DIR" && echo "#include <stdio.h>" | gcc -shared -fPIC -x c - -o probe.so && ls'
    words = ("exec", container("rerank-1"), "sh", "-c", f'mkdir -p "$TRITON_CACHE_DIR" && {build}')
    assert "probe.so" in engine(*words).split()

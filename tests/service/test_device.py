"""Where a model runs, and what is said where that is not what was meant."""

from pathlib import Path

import pytest
import torch

from ragnarok.errors import BadSetting
from service.device import Here, choose_device, look
from service.settings import Device, Settings
from tests.service.test_start import start

SLOW = ["no GPU answers here: the model runs on the CPU, which is slow"]


@pytest.mark.parametrize(
    ("wanted", "here", "device", "said"),
    [
        (None, Here(0, None), "cpu", []),
        (None, Here(0, "13.0"), "cpu", SLOW),
        (None, Here(2, "13.0"), "cuda", []),
        ("cpu", Here(0, "13.0"), "cpu", []),
        ("cpu", Here(1, "13.0"), "cpu", []),
        ("cuda", Here(1, "13.0"), "cuda", []),
    ],
)
def test_a_model_goes_where_it_was_sent_or_where_it_is_fast(
    wanted: Device | None, here: Here, device: Device, said: list[str]
) -> None:
    heard: list[str] = []
    assert choose_device(wanted, here, heard.append) == device
    assert heard == said


@pytest.mark.parametrize(("cuda", "why"), [("13.0", "torch is built for CUDA 13.0"), (None, "without CUDA")])
def test_a_gpu_that_is_asked_for_and_does_not_answer_is_refused(cuda: str | None, why: str) -> None:
    with pytest.raises(
        BadSetting, match=f"RAGNAROK_DEVICE=cuda, and no GPU answers.*{why}.*leave the setting"
    ):
        choose_device("cuda", Here(0, cuda), pytest.fail)


def test_what_is_here_is_what_torch_says() -> None:
    assert look() == Here(torch.cuda.device_count(), torch.version.cuda)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU answers here")
def test_a_service_without_the_gpu_that_it_needs_does_not_start(
    caplog: pytest.LogCaptureFixture, saved: Path
) -> None:
    logged = start(Settings(serve="rerank", model=str(saved), device="cuda"), caplog)
    assert "A setting cannot be used: RAGNAROK_DEVICE=cuda, and no GPU answers here" in logged
    assert "Traceback" not in logged

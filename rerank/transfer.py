"""Sending small tensors to a device."""

import torch
from torch import Tensor


def send(values: Tensor, device: torch.device) -> Tensor:
    """`values` on the device, without waiting for what runs there, as pageable memory would."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values

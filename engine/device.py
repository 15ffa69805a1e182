"""Which device computes."""

import torch

from engine.errors import DeviceError


def resolve_device(device: str) -> torch.device:
    """`auto` is a CUDA GPU where there is one, else the CPU; anything else is torch's name of a device.

    Raises:
        DeviceError: this machine has no such device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        raise DeviceError(f"device {device!r}: expected auto, cpu or cuda[:N]") from error
    if resolved.type == "cuda" and not torch.cuda.is_available():
        raise DeviceError(f"device {device!r}: this machine has no CUDA GPU that torch can use")
    if resolved.type not in ("cpu", "cuda"):
        raise DeviceError(f"device {device!r}: expected auto, cpu or cuda[:N]")
    return resolved

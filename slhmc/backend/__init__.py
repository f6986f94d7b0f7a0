"""Devices: the only code that knows a compiler, a GPU or an address."""

from slhmc.backend.device import Device, Kernel
from slhmc.backend.host import HostDevice
from slhmc.backend.tape import Tape
from slhmc.errors import InputError

__all__ = ["Device", "HostDevice", "Kernel", "Tape", "open_device"]


def _open_cuda() -> Device:
    from slhmc.backend.cuda import CudaDevice
    return CudaDevice()


DEVICES = {"cpu": HostDevice, "cuda": _open_cuda}


def open_device(name: str) -> Device:
    """A device by its card name: "cpu" or "cuda". Raises InputError if it is not to be had."""
    if name not in DEVICES:
        raise InputError(f"device {name!r} is unknown; one of {', '.join(DEVICES)}")
    return DEVICES[name]()

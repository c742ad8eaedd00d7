"""The GPUs that Ray gives an actor, as devices of sessions.

Ray hides GPUs from an actor by setting ``CUDA_VISIBLE_DEVICES``, which Vulkan does not read: every actor would take the
same best GPU. A card's PCI address is the same for both: `device` asks Ray for the actor's GPU and ``nvidia-smi`` for
its address.
"""

from __future__ import annotations

import subprocess
import warnings

from ._errors import DeviceError

__all__ = ["device", "pci_devices"]

_QUERY = ["nvidia-smi", "--query-gpu=index,uuid,pci.bus_id", "--format=csv,noheader"]


def device() -> str:
    """The `device` of a session in this actor or task: its GPU, or ``"cpu"`` if Ray gave it none.

    A session runs on one GPU: ask Ray for ``num_gpus=1``, or for less to share one. Where Ray gave no GPU and the
    machine has some, there is a `UserWarning`.
    """
    import ray

    gpus = [str(gpu) for gpu in ray.get_gpu_ids()]
    if not gpus:
        _warn_of_idle_gpus()
        return "cpu"
    if len(gpus) > 1:
        raise DeviceError(f"expected an actor with one GPU, found {len(gpus)}: ask for num_gpus=1, and for more actors")
    known = pci_devices()
    if gpus[0] not in known:
        raise DeviceError(f"Ray gave GPU {gpus[0]}, nvidia-smi knows {', '.join(known) or 'none'}")
    return known[gpus[0]]


def _warn_of_idle_gpus() -> None:
    try:
        count = len(set(pci_devices().values()))
    except DeviceError:
        return  # no nvidia-smi, or a broken one
    if count > 0:
        text = (
            f"Ray gave this actor no GPU, though nvidia-smi finds {count}: it runs on the CPU. Ask Ray for num_gpus=1"
        )
        warnings.warn(text, stacklevel=3)


def pci_devices(listing: str | None = None) -> dict[str, str]:
    """The `device` of every NVIDIA GPU, by its index and by its UUID, both as text.

    Parameters
    ----------
    listing
        What ``nvidia-smi --query-gpu=index,uuid,pci.bus_id --format=csv,noheader`` prints. It is run by default.

    Notes
    -----
    ``nvidia-smi`` counts GPUs by PCI address. CUDA counts the fastest first, unless ``CUDA_DEVICE_ORDER=PCI_BUS_ID`` is
    set: set it where other actors on the same machine use CUDA and its GPUs differ.

    Examples
    --------
    >>> pci_devices("0, GPU-8a6c, 00000000:65:00.0")
    {'0': 'pci:0000:65:00.0', 'GPU-8a6c': 'pci:0000:65:00.0'}
    """
    if listing is None:
        try:
            listing = subprocess.run(_QUERY, check=True, capture_output=True, text=True, timeout=60).stdout
        except (OSError, subprocess.SubprocessError) as error:
            raise DeviceError(f"cannot ask nvidia-smi for the addresses of GPUs: {error}") from error
    devices = {}
    for line in filter(str.strip, listing.splitlines()):
        fields = [field.strip() for field in line.split(",")]
        if len(fields) != 3 or fields[2].count(":") != 2:
            raise DeviceError(f"expected `index, uuid, address` of nvidia-smi, found {line!r}")
        index, uuid, address = fields
        # nvidia-smi writes the domain with eight digits; drivers give it to Vulkan with four.
        domain, bus, slot = address.lower().split(":")
        devices[index] = devices[uuid] = f"pci:{int(domain, 16):04x}:{bus}:{slot}"
    return devices

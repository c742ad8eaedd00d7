"""Image inference for the ResNet family on any GPU, without residual connections.

`Session` opens a checkpoint on a device and runs it; `convert` and `prune` write networks; `adapters` lists GPUs;
`rmnet.ray` maps the GPUs that Ray gives an actor to devices.
"""

from ._errors import (
    CheckpointError,
    DeviceError,
    DeviceTimeoutError,
    DtypeError,
    Error,
    FileError,
    ForkError,
    ImageError,
    InputError,
    InternalError,
    ModelError,
    NotFiniteError,
    NotFoundError,
    OptionError,
    OutOfMemoryError,
    PicklingError,
    PlanError,
)
from ._files import adapters, convert, prune
from ._reports import (
    Adapter,
    Assumption,
    Block,
    BlockProof,
    Converted,
    Memory,
    Prediction,
    Proof,
    Pruned,
    Quarantined,
)
from ._rmnet import __version__
from ._session import Session

__all__ = [
    "Adapter",
    "Assumption",
    "Block",
    "BlockProof",
    "CheckpointError",
    "Converted",
    "DeviceError",
    "DeviceTimeoutError",
    "DtypeError",
    "Error",
    "FileError",
    "ForkError",
    "ImageError",
    "InputError",
    "InternalError",
    "Memory",
    "ModelError",
    "NotFiniteError",
    "NotFoundError",
    "OptionError",
    "OutOfMemoryError",
    "PicklingError",
    "PlanError",
    "Prediction",
    "Proof",
    "Pruned",
    "Quarantined",
    "Session",
    "__version__",
    "adapters",
    "convert",
    "prune",
]

"""Writing networks without their residual connections."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path as FilePath
from typing import Literal

import numpy as np

from . import _rmnet
from ._inputs import ArrayLike, Image, to_input
from ._native_types import PruneArgs
from ._options import Assume, Path, Size, load_args
from ._reports import Adapter, Block, Converted, Pruned
from ._session import Session


def convert(
    path: Path,
    out: Path,
    *,
    size: Size | None = None,
    assume: Assume | None = None,
    output: str = "logits",
    literal: bool = False,
    merge: bool = False,
) -> Converted:
    """Writes a network without its residual connections, as ``rmnet convert`` does.

    Parameters
    ----------
    path
        A checkpoint: a file or a folder.
    out
        The file to write. ``.safetensors``: the block form, which rmnet opens. ``.onnx``: a model of Conv and Relu for
        other runtimes. A file that exists is replaced if it is a model of that format.
    size, assume, output
        As of `Session`.
    literal
        Whether the safetensors file gets plain weights, with the carried channels multiplied out.
    merge
        Whether neighbouring linear 1x1 convolutions become one.
    """
    found = _rmnet.convert(path, out, load_args(size, assume), output, literal, merge)
    blocks = [Block(*block) for block in found["blocks"]]
    return Converted(FilePath(out), found["format"], found["bytes"], blocks, found["deviation"])


def prune(
    path: Path,
    out: Path,
    *,
    ratio: float | None = None,
    macs: float | None = None,
    criterion: Literal["bn", "l1", "mean"] = "bn",
    calibration: Iterable[Image] | ArrayLike | None = None,
    keep_at_least: int | float = 1,
    limits: Mapping[str, float] | None = None,
    multiple: int = 4,
    coupled: bool = False,
    reserved: bool = False,
    size: Size | None = None,
    assume: Assume | None = None,
) -> Pruned:
    """Removes channels of a network without residual connections, and writes it, as ``rmnet prune`` does.

    Parameters
    ----------
    path, out
        A checkpoint, and the safetensors file to write.
    ratio, macs
        One of them: the share of channels to remove at most, or the share of multiplies to leave at most.
    criterion
        How channels are ranked: ``"bn"`` by batch norm scales, ``"l1"`` by the norms of kernels, ``"mean"`` by the mean
        activations on `calibration`, which is images as in `Session.run_images` or an array as in `Session.run`.
    keep_at_least
        What every layer keeps: a number of channels, or, as a float, a share of them.
    limits
        The largest share that may be removed, by layer.
    multiple
        The number of channels that are left is a multiple of this.
    coupled
        Ties channels as the residual network does: a baseline for comparison.
    reserved
        Also removes connections past a block whose two ends stay.
    size, assume
        As of `Session`.
    """
    values = None
    if calibration is not None:
        # A session on the CPU knows the model's shape and preprocessing.
        session = Session(path, "cpu", size=size, assume=assume)
        array = (
            isinstance(calibration, np.ndarray) and calibration.dtype != np.uint8 or hasattr(calibration, "__dlpack__")
        )
        values = (
            to_input(calibration, session.input_shape)  # type: ignore[arg-type]
            if array
            else session.prepare(calibration)  # type: ignore[arg-type]
        )
    is_share = isinstance(keep_at_least, float)
    options: PruneArgs = {
        "ratio": ratio,
        "macs": macs,
        "criterion": criterion,
        "keep_channels": None if is_share else int(keep_at_least),
        "keep_share": keep_at_least if is_share else None,
        "limits": list((limits or {}).items()),
        "multiple": multiple,
        "coupled": coupled,
        "reserved": reserved,
    }
    found = _rmnet.prune(path, out, load_args(size, assume), options, values)
    return Pruned(
        path=FilePath(out),
        bytes=found["bytes"],
        channels=found["channels"],
        removed=found["removed"],
        macs=found["macs"],
        parameters=found["parameters"],
        activation_bytes=found["activation_bytes"],
        dispatches=found["dispatches"],
        layers=dict(found["layers"]),
        left=dict(found["left"]),
    )


def adapters() -> list[Adapter]:
    """Every GPU and software driver there is, best first; a `device` of digits counts in this order."""
    return [Adapter(**adapter) for adapter in _rmnet.adapters()]

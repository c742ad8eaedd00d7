"""Writing networks without their residual connections."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Literal

from . import _rmnet
from ._inputs import Images, is_prepared, to_input
from ._native_types import LeastArgs, PruneArgs
from ._options import Assume, Path, Size, load_args, pairs, path_text, real_number, text, whole_number
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
    path, out = path_text("path", path), path_text("out", out)
    load = load_args(size, assume)
    found = _rmnet.convert(path, out, load, text("output", output), bool(literal), bool(merge))
    blocks = [Block(*block) for block in found["blocks"]]
    return Converted(FilePath(out), found["format"], found["bytes"], blocks, found["deviation"])


def prune(
    path: Path,
    out: Path,
    *,
    ratio: float | None = None,
    macs: float | None = None,
    criterion: Literal["bn", "l1", "mean"] = "bn",
    calibration: Images | None = None,
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
        What every layer keeps: a number of channels, or, as a float (also one of NumPy), a share of them.
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
    path, out = path_text("path", path), path_text("out", out)
    options: PruneArgs = {
        "ratio": None if ratio is None else real_number("ratio", ratio),
        "macs": None if macs is None else real_number("macs", macs),
        "criterion": text("criterion", criterion),
        **_least(keep_at_least),
        "limits": [(text("limits", layer), real_number("limits", share)) for layer, share in pairs("limits", limits)],
        "multiple": whole_number("multiple", multiple),
        "coupled": bool(coupled),
        "reserved": bool(reserved),
    }
    values = None
    if calibration is not None:
        # A session on the CPU knows the model's shape and preprocessing.
        session = Session(path, "cpu", size=size, assume=assume)
        if is_prepared(calibration):
            values = to_input(calibration, session.input_shape)
        else:
            values = session.prepare(calibration)
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


def _least(keep_at_least: object) -> LeastArgs:
    """A number of channels, or a share of them."""
    if isinstance(keep_at_least, numbers.Integral):
        return {"keep_channels": whole_number("keep_at_least", keep_at_least), "keep_share": None}
    share = real_number("keep_at_least", keep_at_least, "a number of channels, or a share of them")
    return {"keep_channels": None, "keep_share": share}


def adapters() -> list[Adapter]:
    """Every GPU and software driver there is, best first; a `device` of digits counts in this order."""
    return [Adapter(**adapter) for adapter in _rmnet.adapters()]

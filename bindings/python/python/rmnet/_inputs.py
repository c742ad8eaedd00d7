"""From what users have to what the native half reads: contiguous float32 arrays, and images."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeGuard

import numpy as np
import numpy.typing as npt

from ._errors import DtypeError, ImageError, InputError

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

    from ._native_types import NativeImage

Floats: TypeAlias = npt.NDArray[np.float32]


class SupportsArray(Protocol):
    """An object with ``__array__``: a NumPy array, a torch tensor, a pandas or xarray value."""

    def __array__(self) -> npt.NDArray[Any]: ...


class SupportsDlpack(Protocol):
    """An object with ``__dlpack__``: an array of any library of the array API."""

    def __dlpack__(self) -> object: ...

    def __dlpack_device__(self) -> tuple[Any, int]: ...


ArrayLike: TypeAlias = "npt.NDArray[Any] | SupportsArray | SupportsDlpack"
Image: TypeAlias = "str | os.PathLike[str] | bytes | npt.NDArray[np.uint8] | SupportsArray | PilImage"

# DLPack's numbers of devices whose memory the CPU can read: the CPU, and pinned memory of CUDA and ROCm.
_READABLE = {1, 3, 11}
_DEVICES = {2: "CUDA", 4: "OpenCL", 7: "Vulkan", 8: "Metal", 10: "ROCm", 13: "CUDA managed", 14: "oneAPI"}


def to_numpy(array: Any, what: str = "array") -> npt.NDArray[Any]:
    """The array that an object holds, without a copy where its memory can be shared."""
    if isinstance(array, np.ndarray):
        return array
    if hasattr(array, "__dlpack__") and hasattr(array, "__dlpack_device__"):
        try:
            kind = int(array.__dlpack_device__()[0])
            device = _DEVICES.get(kind, f"DLPack device {kind}")
        except (ValueError, RuntimeError, BufferError) as error:
            # Such as torch's device `meta`, which has no memory.
            kind, device = 0, str(error)
        if kind not in _READABLE:
            raise InputError(
                f"{what}: expected memory of the CPU, found {device}: move it there, in torch with `.cpu()`"
            )
        try:
            return np.from_dlpack(array)
        except (BufferError, RuntimeError, TypeError, ValueError) as error:
            # Such as a tensor that requires a gradient, or of bfloat16, which NumPy does not have.
            raise DtypeError(
                f"{what}: NumPy cannot read it ({error}): pass float32 values, in torch with `.detach().float()`"
            ) from error
    if hasattr(array, "__array__") or isinstance(array, (list, tuple)):
        return np.asarray(array)
    raise DtypeError(f"{what}: expected an array (with `__array__` or `__dlpack__`), found {type(array).__name__}")


def to_input(array: ArrayLike, shape: Sequence[int]) -> Floats:
    """A contiguous float32 array ``[images, channels, height, width]`` for a network that reads `shape`."""
    values = to_numpy(array)
    if values.dtype != np.float32:
        advice = 'pass `array.astype("float32")`'
        if values.dtype == np.uint8:
            advice = "pass pixels to `run_images`, or values that are normalised, as float32"
        raise DtypeError(f"array: expected float32, found {values.dtype}: {advice}")
    _, channels, height, width = shape
    if values.shape[1:] != (channels, height, width) or values.ndim != 4:
        advice = ""
        if values.shape == (channels, height, width):
            advice = ": pass `array[None]` for one image"
        elif values.ndim == 4 and values.shape[1:] == (height, width, channels):
            advice = ": pass `array.transpose(0, 3, 1, 2)`, channels come before rows"
        elif values.ndim == 4 and values.shape[1] == channels:
            advice = ": open the session with `size=(height, width)` for inputs of another size"
        found = list(values.shape)
        raise InputError(f"array: expected [images, {channels}, {height}, {width}], found {found}{advice}")
    return np.require(values, requirements=["C_CONTIGUOUS", "ALIGNED"])


def is_pil(image: object) -> TypeGuard[PilImage]:
    """Whether an object is Pillow's. Pillow is not imported for that: whoever has such an object has imported it."""
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(image, module.Image)


def _pil_pixels(image: PilImage, what: str, channels: int) -> npt.NDArray[np.uint8]:
    from PIL import ImageOps

    try:
        # Pillow reads a file now, not when it opens it.
        upright = ImageOps.exif_transpose(image)
        upright.load()
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageError(f"{what}: {error}") from error
    if upright.mode.startswith(("I", "F")):
        # Pillow clips 16-bit and float pixels when it converts them to 8 bits, which is hardly what is meant.
        raise DtypeError(
            f"{what}: expected 8 bits a channel, found Pillow's mode {upright.mode}: scale it to mode L or RGB"
        )
    has_alpha = upright.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in upright.info
    mode = {1: "L", 4: "RGBA"}.get(channels, "RGB")
    # Without alpha an image is given as it is to a network that reads four channels, which refuses it.
    mode = "RGB" if mode == "RGBA" and not has_alpha else mode
    return np.asarray(upright.convert(mode))


def _pixels(image: Any, what: str) -> npt.NDArray[np.uint8]:
    pixels = to_numpy(image, what)
    if pixels.dtype != np.uint8:
        advice = 'pass prepared values to `run`, or pixels from 0 to 255 as `.astype("uint8")`'
        raise DtypeError(f"{what}: expected uint8 pixels, found {pixels.dtype}: {advice}")
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4):
        advice = ""
        if pixels.ndim == 3 and pixels.shape[0] in (1, 3, 4):
            advice = ": pass `image.transpose(1, 2, 0)`, channels come last"
        elif pixels.ndim == 4:
            advice = ": pass `list(images)`, a list of images"
        raise InputError(
            f"{what}: expected [height, width], or [height, width, channels] with 1, 3 or 4 channels, "
            f"found {list(pixels.shape)}{advice}"
        )
    return np.ascontiguousarray(pixels)


def batches(images: Iterable[Image], batch: int, channels: int) -> Iterator[tuple[int, list[NativeImage]]]:
    """Images as the native half reads them, a batch at a time, each with the position of its first one."""
    if isinstance(images, (str, bytes, os.PathLike)) or is_pil(images):
        raise InputError(f"images: expected a list of images, found one {type(images).__name__}: pass `[image]`")
    if isinstance(images, np.ndarray) and images.ndim != 4 and images.dtype.kind not in "OSU":
        # Rows of one image would be taken for images. Arrays of paths, bytes or images, as Ray has them, are lists.
        found = list(images.shape)
        raise InputError(f"images: expected a list, or [images, height, width, channels], found an array of {found}")
    counted = enumerate(images)
    first = 0
    while part := [_native(image, index, channels) for index, image in islice(counted, batch)]:
        yield first, part
        first += len(part)


def _native(image: Image, index: int, channels: int) -> NativeImage:
    if isinstance(image, (str, os.PathLike)):
        return os.fspath(image)
    if isinstance(image, (bytes, bytearray)):
        return bytes(image)
    what = f"image {index}"
    return _pixels(_pil_pixels(image, what, channels) if is_pil(image) else image, what)

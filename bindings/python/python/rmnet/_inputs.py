"""From what users have to what the native half reads: contiguous float32 arrays, and images."""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeGuard

import numpy as np
import numpy.typing as npt

from ._errors import DtypeError, ImageError, InputError, OptionError

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
Encoded: TypeAlias = "bytes | bytearray | memoryview | mmap.mmap"
Image: TypeAlias = (
    "str | os.PathLike[str] | Encoded | npt.NDArray[np.uint8] | SupportsArray | SupportsDlpack | PilImage"
)
Images: TypeAlias = "Iterable[Image] | ArrayLike"
PixelFormat: TypeAlias = Literal["rgb", "bgr"]

ENCODED = (bytes, bytearray, memoryview, mmap.mmap)

# What NumPy and the objects that it reads raise.
_UNREADABLE = (AttributeError, BufferError, NotImplementedError, OverflowError, RuntimeError, TypeError, ValueError)
# DLPack's numbers of devices whose memory the CPU can read: the CPU, and pinned memory of CUDA and ROCm.
_READABLE = {1, 3, 11}
# NumPy's kinds of arrays whose elements are images: objects, bytes, and texts of both sorts.
_KINDS_OF_LISTS = "OSUT"
_DEVICES = {2: "CUDA", 4: "OpenCL", 7: "Vulkan", 8: "Metal", 10: "ROCm", 13: "CUDA managed", 14: "oneAPI"}


def to_numpy(array: Any, what: str = "array") -> npt.NDArray[Any]:
    """The array that an object holds, without a copy where its memory can be shared."""
    if isinstance(array, np.ma.MaskedArray):
        raise InputError(f"{what}: expected an array without a mask: pass `array.filled(value)`")
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
        except _UNREADABLE as error:
            # Such as a column of bytes in Arrow, which has both protocols; a tensor that requires a gradient, or of
            # bfloat16, which NumPy does not have, is refused by both.
            found = _behind_array(array)
            if found is not None:
                return found
            raise DtypeError(
                f"{what}: NumPy cannot read it ({error}): pass float32 values, in torch with `.detach().float()`"
            ) from error
    if hasattr(array, "__array__") or isinstance(array, (list, tuple)):
        try:
            return np.asarray(array)
        except _UNREADABLE as error:
            raise InputError(f"{what}: NumPy cannot read it: {error}") from error
    raise DtypeError(f"{what}: expected an array (with `__array__` or `__dlpack__`), found {type(array).__name__}")


def _behind_array(array: Any) -> npt.NDArray[Any] | None:
    try:
        return np.asarray(array) if hasattr(array, "__array__") else None
    except _UNREADABLE:
        return None


def is_prepared(images: Images) -> TypeGuard[ArrayLike]:
    """Whether images are an array of values that are prepared, as `run` reads it, and not pixels, paths or files."""
    if isinstance(images, (list, tuple)) or is_pil(images) or not _is_array(images):
        return False
    dtype = to_numpy(images, "images").dtype
    return dtype.kind not in _KINDS_OF_LISTS and dtype != np.uint8


def _is_array(value: object) -> bool:
    return hasattr(value, "__dlpack__") or hasattr(value, "__array__")


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
        # The native half says the same of a PNG file of 16-bit gray.
        raise DtypeError(
            f"{what}: expected 8 bits a channel, found Pillow's mode {upright.mode}: scale it to mode L or RGB"
        )
    has_alpha = upright.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in upright.info
    mode = {1: "L", 4: "RGBA"}.get(channels, "RGB")
    # Without alpha an image is given as it is to a network that reads four channels, which refuses it.
    mode = "RGB" if mode == "RGBA" and not has_alpha else mode
    try:
        return np.asarray(upright.convert(mode))
    except (ImportError, OSError, ValueError) as error:
        # Such as LAB to L, or to RGB without LittleCMS.
        raise DtypeError(
            f"{what}: expected a mode that Pillow converts to {mode}, found {upright.mode}: {error}"
        ) from error


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


def batches(
    images: Images, batch: int, channels: int, pixel_format: PixelFormat = "rgb"
) -> Iterator[tuple[int, list[NativeImage]]]:
    """Images as the native half reads them, a batch at a time, each with the position of its first one."""
    if pixel_format not in ("rgb", "bgr"):
        raise OptionError(f'pixel_format: expected "rgb" or "bgr", found {pixel_format!r}')
    if isinstance(images, (str, os.PathLike, *ENCODED)) or is_pil(images):
        raise InputError(f"images: expected a list of images, found one {type(images).__name__}: pass `[image]`")
    if not isinstance(images, (list, tuple)) and _is_array(images):
        images = to_numpy(images, "images")
        if images.ndim != (1 if images.dtype.kind in _KINDS_OF_LISTS else 4):
            # Rows of one image would be taken for images. Arrays of paths, bytes or images, as Ray has them, are lists.
            found = f"{list(images.shape)} of {images.dtype}"
            raise InputError(f"images: expected a list, or [images, height, width, channels], found an array {found}")
    try:
        counted = enumerate(images)  # type: ignore[arg-type]
    except TypeError as error:
        raise InputError(f"images: expected a list of images, found {type(images).__name__}") from error
    first = 0
    while part := [_native(image, index, channels, pixel_format) for index, image in islice(counted, batch)]:
        yield first, part
        first += len(part)


def _native(image: Image, index: int, channels: int, pixel_format: PixelFormat) -> NativeImage:
    what = f"image {index}"
    if isinstance(image, (str, os.PathLike)):
        path = os.fspath(image)
        if not isinstance(path, str):
            raise InputError(f"{what}: expected a path of text, found one of bytes: pass `os.fsdecode(path)`")
        return path
    if isinstance(image, ENCODED):
        return image if isinstance(image, bytes) else bytes(image)
    if is_pil(image):
        return _pixels(_pil_pixels(image, what, channels), what), False
    return _pixels(image, what), pixel_format == "bgr"


def joined(parts: list[Floats], shape: Sequence[int]) -> Floats:
    """The batches as one array; without any, none of images of `shape`."""
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if parts else np.empty((0, *shape), np.float32)

"""The session: a network on a device."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from . import _rmnet
from ._errors import DtypeError, InputError, PicklingError
from ._inputs import (
    ENCODED,
    ArrayLike,
    Encoded,
    Floats,
    Images,
    PixelFormat,
    batches,
    is_prepared,
    joined,
    to_input,
    to_numpy,
)
from ._options import (
    DEFAULTS,
    Assume,
    Path,
    SessionOptions,
    Size,
    json_text,
    native_args,
    path_text,
    whole_number,
)
from ._reports import Assumption, Block, BlockProof, Memory, Prediction, Proof, Quarantined

if TYPE_CHECKING:
    from typing_extensions import Unpack


def _reopen(cls: type[Session], path: str, options: SessionOptions) -> Session:
    """A session from its pickle."""
    return cls(path, **options)


class Session:
    """A network on a device, ready to run.

    Threads may share a session, and their runs are in flight at the same time: the GIL is released while a session is
    opened and while it runs. A session that was opened from a path can be pickled; the other process opens the path
    again with the same options.

    Parameters
    ----------
    path
        A checkpoint: safetensors, shards, ``.pth``, ``.pt``, ``.bin``, or a folder with one of these and its config
        files.
    device
        ``None`` or ``"auto"``: the best hardware GPU, else the CPU (`device` and `passed_over` say which). ``"cpu"``.
        Or a GPU: ``"best"``, a number in the order of `rmnet.adapters`, ``"vulkan"``, ``"metal"``, ``"dx12"``,
        ``"gl"``, ``"pci:0000:65:00.0"``, or a part of its name. A device that is asked for is used, or opening fails.
    precision
        ``"f32"``, or ``"f16"``, which stores values and weights in half the memory and sums in f32.
    batch
        Images that the device computes at once. Memory is allocated for them. Calls take any number of images, and run
        them in batches of this size; a smaller last batch takes as long as a full one.
    size
        Height and width of the input, in place of the model's own.
    tuning
        A file of kernels that were measured on this adapter, as ``rmnet tune`` writes it.
    assume
        Properties that no tensor shows, such as ``{"stage_strides": [1, 2, 2, 1]}``; ``docs/checkpoints.md`` lists
        them.
    output
        What `run` gives: ``"logits"``, ``"features"`` (the pooled input of the classifier), or a layer by name, such as
        ``"layer3"``.
    keep
        Names of layers whose values `run_keeping` gives beside the output.
    mode
        ``"structured"``, ``"literal"`` or ``"residual"`` (``docs/removal.md``).
    merge
        Whether neighbouring linear 1x1 convolutions become one.
    threads
        Threads that compute on the CPU, in place of the pool that all sessions share. Images are decoded, and networks
        loaded, on the shared pool in any case; the environment variable ``RAYON_NUM_THREADS`` sets its size.
    timeout
        Seconds to wait for a GPU before a run fails. 5 minutes by default.
    check_input
        Whether a run refuses NaN and infinities in its input.
    self_test
        Whether the kernels of a GPU are tested when a driver is first used in a process, and left out where they are
        wrong (`quarantined`).
    self_test_record
        A JSON file that keeps the results of these tests from one process to the next. It is read where it exists, and
        written, in a folder that exists, when a test has a new result. Delete it to have everything tested again.
        Without it every process tests once; without `self_test` it is left alone.

    Raises
    ------
    Error
        One of its subclasses. Its text names the tensor, the option or the limit, what was expected and what was found.

    Examples
    --------
    >>> session = rmnet.Session("assets/digits", device="cpu")
    >>> session.run(np.zeros((1, 3, 32, 32), np.float32)).shape
    (1, 10)
    """

    _core: _rmnet.Core
    _path: str | None
    _options: SessionOptions

    def __init__(
        self,
        path: Path,
        device: str | int | None = None,
        precision: Literal["f32", "f16"] = "f32",
        batch: int = 1,
        size: Size | None = None,
        tuning: Path | None = None,
        assume: Assume | None = None,
        *,
        output: str = "logits",
        keep: Iterable[str] = (),
        mode: Literal["structured", "literal", "residual"] = "structured",
        merge: bool = False,
        threads: int | None = None,
        timeout: float | None = None,
        check_input: bool = True,
        self_test: bool = True,
        self_test_record: Path | None = None,
    ) -> None:
        options: SessionOptions = {
            "device": device,
            "precision": precision,
            "batch": batch,
            "size": size,
            "tuning": tuning,
            "assume": assume,
            "output": output,
            "keep": keep,
            "mode": mode,
            "merge": merge,
            "threads": threads,
            "timeout": timeout,
            "check_input": check_input,
            "self_test": self_test,
            "self_test_record": self_test_record,
        }
        # Absolute, as a process that opens the pickle may be in another folder.
        path = os.path.abspath(path_text("path", path))
        self._options, load, native = native_args(options)
        self._start(_rmnet.Core.open(path, load, native), path)

    @classmethod
    def from_bytes(
        cls,
        data: Encoded,
        *,
        config: str | Mapping[str, Any] | None = None,
        preprocessor_config: str | Mapping[str, Any] | None = None,
        **options: Unpack[SessionOptions],
    ) -> Session:
        """A session of the bytes of a weight file.

        The session holds on to `data`, and cannot be pickled. `bytes` are not copied, other objects are.

        Parameters
        ----------
        data
            The content of a safetensors or PyTorch file: `bytes`, a `bytearray`, a `memoryview` or an `mmap`.
        config, preprocessor_config
            The content of ``config.json`` and ``preprocessor_config.json``, as text or as a dictionary: labels and
            preprocessing.
        **options
            As of `Session`, by name.
        """
        unknown = options.keys() - DEFAULTS.keys()
        if unknown:
            raise TypeError(f"from_bytes() got an unexpected keyword argument {min(unknown)!r}")
        if not isinstance(data, ENCODED):
            raise DtypeError(f"data: expected bytes, found {type(data).__name__}: pass `bytes(data)`")
        session = cls.__new__(cls)
        session._options, load, native = native_args({**DEFAULTS, **options})
        texts = json_text("config", config), json_text("preprocessor_config", preprocessor_config)
        data = data if isinstance(data, bytes) else bytes(data)
        session._start(_rmnet.Core.from_bytes(data, *texts, load, native), None)
        return session

    def _start(self, core: _rmnet.Core, path: str | None) -> None:
        self._core = core
        self._path = path
        self._features: _rmnet.Core | None = core if self._options["output"] == "features" else None
        self._opening_features = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        if self._path is None:
            raise PicklingError(
                "a session from bytes cannot be pickled: write them to a file, and open the session from its path"
            )
        return _reopen, (type(self), self._path, self._options)

    def __repr__(self) -> str:
        return (
            f"<rmnet.Session {self.family}, on {self.device}, "
            f"input {list(self.input_shape)}, output {list(self.output_shape)}>"
        )

    # Running

    def run(self, array: ArrayLike) -> Floats:
        """Runs prepared images.

        An array of float32 whose values lie in C order is read where it is, without the GIL; others are copied first.
        Do not write to it from another thread meanwhile.

        Parameters
        ----------
        array
            float32 ``[images, channels, height, width]``, any number of images, normalised as `preprocess` says
            (`prepare` does that). A NumPy array, or an object with ``__dlpack__`` or ``__array__`` in the CPU's memory,
            such as a torch tensor.

        Returns
        -------
        numpy.ndarray
            Logits or features ``[images, channels]``; a layer's map is ``[images, channels, height, width]``.
        """
        return self._core.run(to_input(array, self.input_shape))

    def run_keeping(self, array: ArrayLike) -> tuple[Floats, dict[str, Floats]]:
        """`run`, with the values of the layers named in `keep`, each ``[images, channels, height, width]``, from that
        very run. The array is read where it is, as in `run`.
        """
        return self._core.run_keeping(to_input(array, self.input_shape))

    def run_images(self, images: Images, *, pixel_format: PixelFormat = "rgb") -> Floats:
        """Prepares and runs images.

        Bytes and contiguous arrays are read where they are, without the GIL: do not write to an array from another
        thread meanwhile. Images are decoded and resized on the threads that all sessions share, whatever `threads` is.

        Parameters
        ----------
        images
            Any number of them, read a batch at a time: paths of PNG and JPEG files; their encoded `bytes` (or a
            `bytearray`, `memoryview` or `mmap`); Pillow images; uint8 arrays ``[height, width]``, which are gray, or
            ``[height, width, channels]`` with 1 channel (gray), 3 (RGB) or 4 (RGBA). They may be mixed, and of any
            sizes. One array ``[images, height, width, channels]`` is a list of images. EXIF orientation is applied to
            files and Pillow images.

            Pixels have 8 bits a channel. Files of 16-bit gray are refused, by path, as bytes and opened by Pillow
            alike, since there is no scale that fits them all; other 16-bit files are read by their high bytes, as
            Pillow does.
        pixel_format
            The order of the channels of arrays. OpenCV has ``"bgr"``: BGR or BGRA, the same as ``image[..., ::-1]`` of
            three channels. Files and Pillow images say theirs themselves.

        Returns
        -------
        numpy.ndarray
            As of `run`.
        """
        batch, channels = self.input_shape[:2]
        read = batches(images, batch, channels, pixel_format)
        return joined([self._core.run_images(part, first) for first, part in read], self.output_shape[1:])

    def prepare(self, images: Images, *, pixel_format: PixelFormat = "rgb") -> Floats:
        """What `run` reads for images as in `run_images`: resized, cropped and normalised as `preprocess` says."""
        batch, channels = self.input_shape[:2]
        read = batches(images, batch, channels, pixel_format)
        return joined([self._core.prepare(part, first) for first, part in read], self.input_shape[1:])

    def classify(self, images: Images, top_k: int = 5, *, pixel_format: PixelFormat = "rgb") -> list[list[Prediction]]:
        """The `top_k` best classes of every image, best first. Images are as in `run_images`.

        Examples
        --------
        >>> session = rmnet.Session("assets/digits", device="cpu")
        >>> [[best]] = session.classify(["assets/digits/images/0374_7.png"], top_k=1)
        >>> best.label
        '7'
        """
        top_k = whole_number("top_k", top_k)
        return self.predictions(self.run_images(images, pixel_format=pixel_format), top_k)

    def predictions(self, logits: ArrayLike, top_k: int = 5) -> list[list[Prediction]]:
        """The `top_k` best classes for each row of logits that `run` gave, best first; among equal logits the lower
        class first. NaN and infinity are a `NotFiniteError`.
        """
        rows = to_numpy(logits, "logits")
        if rows.ndim != 2:
            raise InputError(f"logits: expected [images, classes], found {list(rows.shape)}")
        if rows.dtype.kind not in "fiu":
            raise DtypeError(f"logits: expected float32, found {rows.dtype}")
        top_k = whole_number("top_k", top_k)
        rows = np.ascontiguousarray(rows, dtype=np.float32)
        return [[Prediction(*found) for found in self._core.top_k(row, top_k)] for row in rows]

    def features(self, array: ArrayLike) -> Floats:
        """The pooled input of the classifier, ``[images, channels]``: what timm gives with ``num_classes=0``.

        The first call reads the checkpoint again and opens a second session on the same device, which shares the
        weights. To compute features alone, open the session with ``output="features"``: `run` and `run_images` then
        return them. For a layer's map, pass ``output="layer4"`` or `keep`. The array is read where it is, as in `run`.

        Raises
        ------
        CheckpointError
            The checkpoint's files changed since the session was opened.
        """
        # Another thread of the parent may have held the lock while the process was forked.
        _rmnet.check_process()
        with self._opening_features:
            if self._features is None:
                self._features = self._core.with_output("features")
        return self._features.run(to_input(array, self.input_shape))

    # Proof

    def verify(self, images: Images | None = None, seed: int = 1) -> Proof:
        """Compares the network without residual connections with the original, block by block: in f64, and the device.

        It reads the checkpoint again, whose files may not have changed since the session was opened, and takes many
        times as long as a run. The form that is compared is the structured one, in the session's precision.

        Parameters
        ----------
        images
            What to run: images as in `run_images`, or an array as in `run`. Noise by default.
        seed
            Of the noise. ``rmnet verify --seed`` gives the same values.
        """
        seed = whole_number("seed", seed, 0, 2**64 - 1)
        if images is None:
            array = None
        elif is_prepared(images):
            array = to_input(images, self.input_shape)
        else:
            array = self.prepare(images)
        if array is not None and len(array) == 0:
            raise InputError("images: expected one or more, found none")
        found = self._core.verify(array, seed)
        bound = found["f64_bound"]
        blocks = [
            BlockProof(b["name"], b["outcome"], b["f64_error"], bound, b["device_error"], b["ok"])
            for b in found["blocks"]
        ]
        return Proof(
            ok=not found["failures"],
            failures=found["failures"],
            blocks=blocks,
            f64_bound=bound,
            logits_f64_error=found["logits_f64"],
            device=found["device"],
            device_bound=found["device_bound"],
            logits_device_error=found["logits_device"],
        )

    # What the session is

    def plan(self, svg: bool = False) -> str:
        """Every dispatch as a formula over slots, with the bytes of the slots; or the same as an SVG picture."""
        return self._core.plan(bool(svg))

    @property
    def labels(self) -> list[str] | None:
        """Names of the classes, if the checkpoint's config files have names."""
        return self._core.labels

    @property
    def device(self) -> str:
        """What the session really runs on: the adapter, or ``cpu`` with the number of threads."""
        return self._core.device

    @property
    def is_on_gpu(self) -> bool:
        """Whether it runs on a GPU, which may be a software driver if one was asked for."""
        return self._core.is_on_gpu

    @property
    def passed_over(self) -> list[str]:
        """The adapters that ``device=None`` left alone when it took the CPU: software GPUs, and those that lack a
        feature.
        """
        return self._core.passed_over

    @property
    def quarantined(self) -> list[Quarantined]:
        """The families of kernels that this session would use if the driver did not compute them wrong: other kernels
        run in their place. Empty on the CPU, and without `self_test`.
        """
        return [Quarantined(*quarantined) for quarantined in self._core.quarantined]

    @property
    def blocks(self) -> list[Block]:
        """What became of every residual block, in order."""
        return [Block(*block) for block in self._core.blocks]

    @property
    def memory(self) -> Memory:
        """Bytes allocated on the device now. Some buffers are made by the first run."""
        return Memory(*self._core.memory)

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """``(batch, channels, height, width)``"""
        return self._core.input_shape

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The shape that `run` gives for a full batch."""
        return tuple(self._core.output_shape)

    @property
    def assumed(self) -> list[Assumption]:
        """The properties of the network that no tensor shows, and what was taken for them."""
        return [Assumption(*assumption) for assumption in self._core.assumed]

    @property
    def family(self) -> str:
        """The network as text, such as ``torchvision ResNet, BasicBlock [2, 2, 2, 2]``."""
        return self._core.family

    @property
    def preprocess(self) -> str:
        """How an image becomes the input, as text."""
        return self._core.preprocess

    @property
    def tuned_dispatches(self) -> int | None:
        """How many dispatches run a kernel that `tuning` names; `None` on the CPU."""
        return self._core.tuned_dispatches

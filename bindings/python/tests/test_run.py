"""Arrays in, arrays out: the logits of PyTorch, on every device, whatever holds the values."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rmnet
from conftest import DIGITS, FIXTURES, expected, relative
from rmnet._inputs import to_input
from safetensors.numpy import save_file

# One of each kind of network; the library's own tests run every fixture.
FAMILIES = [
    "tv_resnet18",
    "tv_resnext_odd_groups",
    "tv_mobilenet_v2",
    "timm_seresnext26d",
    "timm_resnetv2_50d",
    "hf_bottleneck",
    "iresnet",
    "repvgg",
    "finetuned_resnet18",
]


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_those_of_the_source_library(family: str, device: str) -> None:
    if device != "cpu" and family not in ("tv_resnet18", "timm_seresnext26d"):
        pytest.skip("two networks are enough for a driver that compiles shaders on the CPU")
    folder = FIXTURES / family
    images, logits = expected(folder)
    session = rmnet.Session(folder, device, batch=len(images), size=images.shape[2:])
    found = session.run(images)
    assert found.dtype == np.float32 and found.shape == logits.shape == session.output_shape
    assert relative(found, logits) < 1e-5
    assert session.is_on_gpu == (device != "cpu")
    # A file that rmnet wrote is a chain already.
    assert (session.blocks == []) == (family == "finetuned_resnet18")
    assert all(block.outcome in ("removed", "summed", "kept") for block in session.blocks)


def test_more_and_fewer_images_than_a_batch(digits: rmnet.Session) -> None:
    images, logits = expected(DIGITS)
    assert relative(digits.run(images), logits) < 1e-5  # 14 images, 4 at once
    assert relative(digits.run(images[:3]), logits[:3]) < 1e-5
    assert digits.run(images[:0]).shape == (0, 10)
    values, kept = digits.run_keeping(images[:0])
    assert values.shape == (0, 10) and kept == {}
    keeping = rmnet.Session(DIGITS, "cpu", batch=4, keep=["layer2"])
    values, kept = keeping.run_keeping(images[:0])
    assert values.shape == (0, 10) and kept["layer2"].shape == (0, 32, 16, 16)
    assert np.array_equal(keeping.run_keeping(images[:5])[1]["layer2"], keeping.run_keeping(images)[1]["layer2"][:5])


class Holder:
    """An array behind `__array__` alone."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        return self.values


class Lent:
    """An array behind `__dlpack__`, which says that it lies on a device of a kind."""

    def __init__(self, values: np.ndarray, kind: int = 1) -> None:
        self.values, self.kind = values, kind

    def __dlpack__(self, **options: object) -> object:
        return self.values.__dlpack__(**options)  # type: ignore[arg-type]

    def __dlpack_device__(self) -> tuple[int, int]:
        return (self.kind, 0)


def test_any_array_gives_the_same(digits: rmnet.Session) -> None:
    images, _ = expected(DIGITS)
    wanted = digits.run(images)
    wide = np.zeros((*images.shape[:3], 64), np.float32)
    wide[..., ::2] = images
    read_only = images.copy()
    read_only.setflags(write=False)
    unaligned = np.frombuffer(b"x" + images.tobytes(), np.uint8)[1:].view(np.float32).reshape(images.shape)
    forms = {
        "strided": wide[..., ::2],
        "columns first": np.asfortranarray(images),
        "read-only": read_only,
        "unaligned": unaligned,
        "__array__": Holder(images),
        "__dlpack__": Lent(images),
    }
    for name, form in forms.items():
        assert np.array_equal(digits.run(form), wanted), name
    for form, memory in ((images, images), (read_only, read_only), (Holder(images), images), (Lent(images), images)):
        assert np.shares_memory(to_input(form, images.shape), memory)  # no copy is made of what lies in C order


def test_refusals_say_what_to_do(digits: rmnet.Session) -> None:
    images, _ = expected(DIGITS)
    cases = [
        (
            images.astype(np.float64),
            rmnet.DtypeError,
            TypeError,
            r'expected float32, found float64: pass `array.astype\("float32"\)`',
        ),
        (images.astype(np.uint8), rmnet.DtypeError, TypeError, "run_images"),
        (images.astype(">f4"), rmnet.DtypeError, TypeError, "astype"),
        (images[0], rmnet.InputError, ValueError, r"found \[3, 32, 32\]: pass `array\[None\]`"),
        (images.transpose(0, 2, 3, 1), rmnet.InputError, ValueError, r"transpose\(0, 3, 1, 2\)"),
        (
            images[..., :16],
            rmnet.InputError,
            ValueError,
            r"expected \[images, 3, 32, 32\], found \[14, 3, 32, 16\].*size=",
        ),
        (np.float32(1), rmnet.InputError, ValueError, r"found \[\]"),
        (images.tolist(), rmnet.DtypeError, TypeError, "float64"),
        ([[1], [1, 2]], rmnet.InputError, ValueError, "NumPy cannot read it"),
        (np.ma.masked_less(images, 0), rmnet.InputError, ValueError, r"array.filled\(value\)"),
        ("digit.png", rmnet.DtypeError, TypeError, "found str"),
        (
            Lent(images, kind=2),
            rmnet.InputError,
            ValueError,
            r"expected memory of the CPU, found CUDA: move it there, in torch with `.cpu\(\)`",
        ),
    ]
    for array, error, builtin, text in cases:
        with pytest.raises(error, match=text) as caught:
            digits.run(array)
        assert isinstance(caught.value, builtin) and isinstance(caught.value, rmnet.Error)
    images = images.copy()
    images[5, 1, 2, 3] = np.nan
    for run in (digits.run, digits.run_keeping, digits.features):  # image 5 is image 1 of the second batch
        with pytest.raises(rmnet.InputError, match="NaN at channel 1, row 2, column 3 of image 5:"):
            run(images)


def test_an_overflow_names_the_image_of_the_call(tmp_path: Path) -> None:
    images, _ = expected(DIGITS)
    session = rmnet.Session(DIGITS, "cpu", batch=4, check_input=False)
    images = images.copy()
    images[9] = np.inf
    with pytest.raises(rmnet.NotFiniteError, match="output 0 of image 9 is NaN: a layer overflows f32"):
        session.run(images)


def test_features_and_kept_layers(device: str) -> None:
    images, logits = expected(DIGITS)
    session = rmnet.Session(DIGITS, device, batch=len(images), keep=["layer2", "layer3.2"])
    features = session.features(images)
    assert features.shape == (14, 64)
    again = rmnet.Session(DIGITS, device, batch=len(images), output="features")
    assert np.array_equal(features, again.run(images)) and np.array_equal(features, again.features(images))
    layer = rmnet.Session(DIGITS, device, batch=len(images), output="layer3")
    assert layer.output_shape == (14, 64, 8, 8)
    assert relative(layer.run(images).mean((2, 3)), features) < 1e-5
    values, kept = session.run_keeping(images)
    assert relative(values, logits) < 1e-5
    assert {name: value.shape for name, value in kept.items()} == {
        "layer2": (14, 32, 16, 16),
        "layer3.2": (14, 64, 8, 8),
    }
    assert relative(kept["layer3.2"], layer.run(images)) < 1e-5
    with pytest.raises(rmnet.OptionError, match="they have no classes"):
        again.predictions(features)


def test_f16_is_close_and_smaller(device: str) -> None:
    images, logits = expected(DIGITS)
    half = rmnet.Session(DIGITS, device, "f16", len(images))
    assert relative(half.run(images), logits) < 0.03
    if half.is_on_gpu:
        assert half.memory.weights < rmnet.Session(DIGITS, device, batch=len(images)).memory.weights
    assert half.memory.total == sum(half.memory)


def test_threads_share_a_session(device: str) -> None:
    images, _ = expected(DIGITS)
    session = rmnet.Session(DIGITS, device, batch=2)
    wanted = session.run(images)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: session.run(images[i % 14 : i % 14 + 1]), range(64)))
    for i, row in enumerate(found):
        assert np.array_equal(row[0], wanted[i % 14]), i


def ticks_during(work: object) -> tuple[float, int]:
    """How long `work` takes, and how often a Python thread comes to its turn meanwhile."""
    done, ticks = threading.Event(), 0

    def tick() -> None:
        nonlocal ticks
        while not done.is_set():
            ticks += 1
            time.sleep(0.002)

    thread = threading.Thread(target=tick)
    thread.start()
    began = time.perf_counter()
    work()  # type: ignore[operator]
    took = time.perf_counter() - began
    done.set()
    thread.join()
    return took, ticks


def resnet18(path: Path) -> Path:
    """A ResNet-18 of the usual widths, 45 MiB of constants, in torchvision's names."""
    tensors = {}

    def conv(name: str, norm: str, out: int, inputs: int, kernel: int) -> None:
        tensors[f"{name}.weight"] = np.full((out, inputs, kernel, kernel), 0.01, np.float32)
        for part in ("weight", "bias", "running_mean", "running_var"):
            tensors[f"{norm}.{part}"] = np.ones(out, np.float32)

    conv("conv1", "bn1", 64, 3, 7)
    inputs = 64
    for stage, width in enumerate((64, 128, 256, 512), 1):
        for block in (f"layer{stage}.0", f"layer{stage}.1"):
            if inputs != width:
                conv(f"{block}.downsample.0", f"{block}.downsample.1", width, inputs, 1)
            conv(f"{block}.conv1", f"{block}.bn1", width, inputs, 3)
            conv(f"{block}.conv2", f"{block}.bn2", width, width, 3)
            inputs = width
    tensors["fc.weight"], tensors["fc.bias"] = np.ones((1000, 512), np.float32), np.ones(1000, np.float32)
    save_file(tensors, path)
    return path


def test_the_gil_is_released_at_load_and_in_run(tmp_path: Path) -> None:
    path = resnet18(tmp_path / "resnet18.safetensors")
    sessions: list[rmnet.Session] = []
    images = np.zeros((8, 3, 224, 224), np.float32)
    load = lambda: sessions.append(rmnet.Session(path, "cpu", batch=8, threads=1))  # noqa: E731
    for name, work in (("load", load), ("run", lambda: sessions[0].run(images))):
        took, ticks = ticks_during(work)
        # With the GIL held, the other thread would have its turn before and after alone. It wants one every 2 ms, and
        # the machine may be busy.
        assert ticks > max(4, took / 0.002 / 20), f"{name}: {ticks} turns in {took} s"


def test_ctrl_c_is_heard_between_batches(digits: rmnet.Session) -> None:
    images = np.zeros((50_000, 3, 32, 32), np.float32)
    # A shell that starts tests in the background has it ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    began = time.perf_counter()
    try:
        with pytest.raises(KeyboardInterrupt):
            digits.run(images)
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.perf_counter() - began < 3

"""Images in, classes out: as the program has them."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import pytest
import rmnet
from conftest import DIGITS, FIXTURES, IMAGES, expected, ran, relative
from PIL import Image
from rmnet._inputs import batches
from test_run import Holder, Lent


def test_classes_are_those_of_the_program(device: str) -> None:
    session = rmnet.Session(DIGITS, device, batch=4)
    found = session.classify(IMAGES, top_k=3)
    for path, classes in zip(IMAGES, found):
        assert classes[0].label == path.stem[-1], path
    report = ran("run", DIGITS, *IMAGES, "--adapter", device, "--top", 3)
    printed = [[(p["class"], p["label"]) for p in image["top"]] for image in report["images"]]  # type: ignore[index]
    assert [[(p.class_index, p.label) for p in classes] for classes in found] == printed
    for classes, image in zip(found, report["images"]):  # type: ignore[index]
        for ours, theirs in zip(classes, image["top"]):
            assert ours.probability == pytest.approx(theirs["probability"], abs=1e-5)


def test_every_form_of_an_image_gives_the_same(digits: rmnet.Session) -> None:
    _, logits = expected(DIGITS)
    wanted = digits.run_images(IMAGES)
    assert relative(wanted, logits) < 1e-5
    opened = [Image.open(path) for path in IMAGES]
    arrays = [np.asarray(image.convert("RGB")) for image in opened]
    assert np.array_equal(digits.run_images([str(path) for path in IMAGES]), wanted)
    assert np.array_equal(digits.run_images([path.read_bytes() for path in IMAGES]), wanted)
    assert np.array_equal(digits.run_images(opened), wanted)
    assert np.array_equal(digits.run_images(arrays), wanted)
    assert np.array_equal(digits.run_images(np.stack(arrays)), wanted)
    mixed = [IMAGES[0], opened[1], arrays[2], IMAGES[3].read_bytes(), arrays[4][:, :, :1], arrays[5][:, :, 0]]
    mixed.append(np.dstack([arrays[6], np.zeros(arrays[6].shape[:2], np.uint8)]))
    mixed.append(np.flip(np.flip(arrays[7], 1), 1))
    assert np.array_equal(digits.run_images(mixed), wanted[:8])  # the digits are gray
    assert np.array_equal(digits.run(digits.prepare(mixed)), wanted[:8])
    assert np.array_equal(digits.run_images(path for path in IMAGES), wanted)
    for holder in (Holder, Lent):  # as torch, JAX, xarray and pandas have them
        assert np.array_equal(digits.run_images(holder(np.stack(arrays))), wanted)
        assert np.array_equal(digits.run_images([holder(array) for array in arrays]), wanted)
    for form in (bytearray, memoryview):
        assert np.array_equal(digits.run_images([form(path.read_bytes()) for path in IMAGES]), wanted)
    with IMAGES[0].open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert np.array_equal(digits.run_images([mapped]), wanted[:1])
    columns = [np.array([path.read_bytes() for path in IMAGES], object), np.array([str(path) for path in IMAGES])]
    for column in columns:  # as Ray Data and pandas have them
        assert np.array_equal(digits.run_images(column), wanted)
        assert np.array_equal(digits.run_images(Holder(column)), wanted)
    assert digits.run_images([]).shape == (0, 10) and digits.classify([]) == []


def test_files_and_pillow_agree_on_every_kind_of_pixel(tmp_path: Path) -> None:
    session = rmnet.Session(FIXTURES / "tv_resnet18", "cpu")
    kinds = sorted((FIXTURES / "pil").glob("*.png"))
    turned = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(FIXTURES / "pil" / "gradient.png").convert("RGB").save(turned, exif=exif)
    for path in [*kinds, turned]:
        assert np.array_equal(session.prepare([path]), session.prepare([Image.open(path)])), path
    upright, as_stored = session.prepare([turned]), session.prepare([np.asarray(Image.open(turned))])
    assert not np.array_equal(upright, as_stored)


def test_columns_of_arrow_and_pandas(digits: rmnet.Session) -> None:
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed: Ray Data brings it")
    pandas = pytest.importorskip("pandas", reason="pandas is not installed: Ray Data brings it")
    files = [path.read_bytes() for path in IMAGES]
    wanted = digits.run_images(IMAGES)
    paths = pandas.Series([str(path) for path in IMAGES])
    for column in (arrow.array(files), arrow.chunked_array([files]), pandas.Series(files), paths):
        assert np.array_equal(digits.run_images(column), wanted), type(column)
        assert digits.verify(column[:1]).ok


def test_the_order_of_channels(tmp_path: Path) -> None:
    session = rmnet.Session(FIXTURES / "tv_resnet18", "cpu", batch=2, size=64)
    rgb = np.random.default_rng(1).integers(0, 256, (50, 70, 3), np.uint8)
    alpha = np.full((50, 70, 1), 200, np.uint8)
    path = tmp_path / "colours.png"
    Image.fromarray(rgb).save(path)
    wanted = session.prepare([rgb])
    assert not np.array_equal(session.prepare([rgb[..., ::-1]]), wanted)
    for image in (rgb, np.dstack([rgb, alpha]), path, path.read_bytes(), Image.open(path)):
        assert np.array_equal(session.prepare([image]), wanted)
    # Files and Pillow's images know their order.
    bgr = rgb[..., ::-1]
    mixed = [bgr, np.dstack([bgr, alpha]), path, path.read_bytes(), Image.open(path)]
    assert np.array_equal(session.prepare(mixed, pixel_format="bgr"), np.repeat(wanted, 5, 0))
    assert np.array_equal(session.prepare(bgr[None], pixel_format="bgr"), wanted)
    assert np.array_equal(session.run_images([bgr], pixel_format="bgr"), session.run([*wanted]))
    assert session.classify([bgr], 1, pixel_format="bgr") == session.classify([rgb], 1)
    gray = rgb[..., 0]
    assert np.array_equal(session.prepare([gray], pixel_format="bgr"), session.prepare([gray]))
    for call in (session.prepare, session.run_images, session.classify):
        with pytest.raises(rmnet.OptionError, match='pixel_format: expected "rgb" or "bgr", found \'rgba\''):
            call([rgb], pixel_format="rgba")  # type: ignore[operator]


def test_sixteen_bits_of_gray_are_refused_alike(digits: rmnet.Session, tmp_path: Path) -> None:
    path = tmp_path / "x-ray.png"
    Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000).save(path)
    assert Image.open(path).mode.startswith("I")
    text = "expected 8 bits a channel, found .*Pillow's mode I.*: scale it to mode L or RGB"
    for image, name in ((path, path), (path.read_bytes(), "image 1"), (Image.open(path), "image 1")):
        with pytest.raises(rmnet.DtypeError, match=f"{name}: {text}"):
            digits.run_images([IMAGES[0], image])


def test_refusals_name_the_image(digits: rmnet.Session, tmp_path: Path) -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    text = tmp_path / "text.png"
    text.write_text("no image")
    cut = tmp_path / "cut.png"
    cut.write_bytes(IMAGES[0].read_bytes()[:100])
    cut_late = tmp_path / "cut late.png"
    cut_late.write_bytes(IMAGES[0].read_bytes()[:-100])
    cases = [
        ([pixels, pixels.astype(np.float32)], rmnet.DtypeError, "image 1: expected uint8 pixels, found float32"),
        ([pixels.transpose(2, 0, 1)], rmnet.InputError, r"transpose\(1, 2, 0\)"),
        ([pixels[None]], rmnet.InputError, r"list\(images\)"),
        (pixels, rmnet.InputError, "expected a list"),
        (Lent(pixels), rmnet.InputError, r"found an array \[8, 8, 3\] of uint8"),
        (Holder(pixels.transpose(2, 0, 1)), rmnet.InputError, r"found an array \[3, 8, 8\] of uint8"),
        (np.array([[b"a", b"b"]], object), rmnet.InputError, r"found an array \[1, 2\] of object"),
        (Lent(pixels[None], kind=2), rmnet.InputError, "images: expected memory of the CPU, found CUDA"),
        ([np.ma.masked_equal(pixels, 0)], rmnet.InputError, "image 0: expected an array without a mask"),
        (IMAGES[0].read_bytes(), rmnet.InputError, "found one bytes"),
        (3, rmnet.InputError, "expected a list of images, found int"),
        (IMAGES[0], rmnet.InputError, r"pass `\[image\]`"),
        ([pixels] * 9 + [np.zeros((0, 8, 3), np.uint8)], rmnet.InputError, "image 9"),
        ([text], rmnet.ImageError, f"{text}: expected a PNG or JPEG image"),
        ([pixels, b"no image"], rmnet.ImageError, "image 1: expected a PNG or JPEG image"),
        ([cut], rmnet.ImageError, "damaged or cut short"),
        ([tmp_path / "none.png"], FileNotFoundError, "none.png"),
        ([tmp_path], rmnet.FileError, str(tmp_path)),
        ([3], rmnet.DtypeError, "found int"),
        ([Image.new("I;16", (8, 8))], rmnet.DtypeError, "image 0: .*Pillow's mode I;16"),
        ([pixels, Image.open(cut_late)], rmnet.ImageError, "image 1: .*truncated"),
    ]
    for images, error, message in cases:
        with pytest.raises(error, match=message) as caught:
            digits.run_images(images)  # type: ignore[arg-type]
        assert isinstance(caught.value, rmnet.Error)
    with pytest.raises(rmnet.DtypeError, match="image 1: expected a mode that Pillow converts to L, found LAB"):
        list(batches([pixels, Image.new("LAB", (8, 8))], 2, 1))


def stacked(paths: list[Path]) -> np.ndarray:
    return np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths])


# Images that are arrays, but no prepared values.
FORMS = [
    stacked,
    lambda paths: Lent(stacked(paths)),
    lambda paths: np.array([path.read_bytes() for path in paths], object),
    lambda paths: np.array([str(path) for path in paths]),
]


def test_pruning_is_calibrated_on_every_form_of_images(digits: rmnet.Session, tmp_path: Path) -> None:
    def kept(calibration: object) -> dict[str, tuple[int, int]]:
        out = tmp_path / "small.safetensors"
        return rmnet.prune(DIGITS, out, ratio=0.2, criterion="mean", calibration=calibration).layers  # type: ignore[arg-type]

    wanted = kept(digits.prepare(IMAGES[:3]))
    assert all(kept(form(IMAGES[:3])) == wanted for form in [list, *FORMS])


def test_a_proof_is_the_programs(device: str) -> None:
    folder = FIXTURES / "tv_resnet18"
    proof = rmnet.Session(folder, device, size=64).verify()
    report = ran("verify", folder, "--adapter", device, "--size", "64")
    assert proof.ok and report["verified"]  # type: ignore[index]
    blocks = report["blocks"]  # type: ignore[index]
    assert [b.name for b in proof.blocks] == [b["block"] for b in blocks] and len(blocks) == 8
    for ours, theirs in zip(proof.blocks, blocks):
        assert ours.ok and ours.outcome == theirs["outcome"] == "removed"
        assert ours.f64_error == pytest.approx(theirs["f64"]["relative"])
        assert ours.f64_error <= ours.f64_bound == report["f64_bound"]  # type: ignore[index]
        assert ours.device_error == pytest.approx(theirs["executor"]["relative"])
    assert proof.logits_device_error is not None and proof.logits_device_error <= proof.device_bound
    assert "verified" in str(proof) and "layer4.1" in str(proof)


def test_a_proof_on_images_and_in_half_precision(digits: rmnet.Session) -> None:
    images, _ = expected(DIGITS)
    assert digits.verify(IMAGES[:2]).ok
    assert digits.verify(images[:1]).ok
    for form in FORMS:
        assert digits.verify(form(IMAGES[:2])).ok
    half = rmnet.Session(FIXTURES / "tv_basic_odd_widths", "cpu", "f16", size=33).verify()
    assert half.ok and half.device_bound > 1e-5
    with pytest.raises(rmnet.InputError, match="found none"):
        digits.verify([])

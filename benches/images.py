"""Prints a table of image files against Pillow: how many decode to its pixels exactly, and how many are refused.

    python benches/images.py RMNET

Reads tests/fixtures/images/cases.safetensors (make_images.py beside it says what is in it) and makes JPEG files of more sizes,
samplings and qualities with Pillow. Each file is run through a network of one layer that hands its input out. Needs numpy,
Pillow and safetensors.
"""

import collections
import io
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from PIL import Image, ImageOps
from safetensors import safe_open
from safetensors.numpy import save_file

RMNET = sys.argv[1]
CASES = pathlib.Path(__file__).resolve().parent.parent / "tests/fixtures/images/cases.safetensors"
WORK = pathlib.Path(tempfile.mkdtemp())
RAW = dict(do_resize=False, do_center_crop=False, do_rescale=False, do_normalize=False)


def printer(height, width, channels):
    """A network that gives its input out, for images of one size."""
    folder = WORK / f"printer{height}x{width}x{channels}"
    if not folder.exists():
        folder.mkdir()
        size = channels * height * width
        chain = {"rmnet_chain": [{"op": "linear", "bias": False}], "num_channels": channels}
        save_file({"0.weight": np.eye(size, dtype=np.float32)}, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(chain))
        (folder / "preprocessor_config.json").write_text(json.dumps({**RAW, "size": {"height": height, "width": width}}))
    return folder


def pillow(data):
    image = Image.open(io.BytesIO(data))
    image.load()
    return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def group(name):
    stem = name.rsplit(".", 1)[0]
    for key in ("colour", "exif", "xmp", "profile", "type", "cut-exif", "sample", "luma", "frame", "unfinished", "made"):
        if stem.startswith(key):
            return f"{name[-3:]} {key}"
    return f"{name[-3:]} other"


def main():
    files = {}
    with safe_open(CASES, "numpy") as cases:
        for key in cases.keys():
            if key.startswith("file/"):
                files[key[5:]] = cases.get_tensor(key).tobytes()
    rng = np.random.default_rng(1)
    for width, height in ((1, 1), (2, 3), (8, 8), (15, 16), (17, 31), (32, 33), (47, 20)):
        image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        for quality in (30, 75, 95):
            for subsampling in (0, 1, 2):
                for progressive in (False, True):
                    data = io.BytesIO()
                    image.save(data, "jpeg", quality=quality, subsampling=subsampling, progressive=progressive)
                    files[f"made{width}x{height}q{quality}s{subsampling}p{progressive}.jpg"] = data.getvalue()

    table = collections.defaultdict(collections.Counter)
    runs = collections.defaultdict(list)
    for name, data in files.items():
        path = WORK / name
        path.write_bytes(data)
        try:
            expected = pillow(data)
            size = expected.shape[:2]
        except Exception:
            expected, size = None, (9, 13)
        runs[size if size[0] * size[1] < 4000 else (9, 13)].append((name, path, expected))
        if not name.startswith(("trailing", "two")) and expected is not None:
            for part in (0.3, 0.6, 0.9):
                cut = WORK / f"cut{part}-{name}"
                cut.write_bytes(data[: int(len(data) * part)])
                runs[size].append((f"cut {name}", cut, None))
    for (height, width), members in runs.items():
        out = WORK / "out.safetensors"
        out.unlink(missing_ok=True)
        command = [RMNET, "run", printer(height, width, 3), *[p for _, p, _ in members], "--adapter", "cpu", "--logits", out]
        lines = subprocess.run([*command, "--jsonl"], capture_output=True, text=True).stdout.splitlines()
        rows = iter([])
        if out.exists():
            with safe_open(out, "numpy") as file:
                rows = iter(file.get_tensor("logits"))
        for (name, _, expected), line in zip(members, lines, strict=True):
            kind = "cut files" if name.startswith("cut ") else group(name)
            if "error" in json.loads(line):
                table[kind]["refused" if expected is not None else "refused, as Pillow does or cut"] += 1
                continue
            row = next(rows).reshape(3, height, width).transpose(1, 2, 0)
            same = expected is not None and np.array_equal(row, expected)
            table[kind]["equal to Pillow" if same else "DIFFERENT"] += 1
    columns = ("equal to Pillow", "refused", "refused, as Pillow does or cut", "DIFFERENT")
    print("| files | " + " | ".join(columns) + " |")
    print("|---|" + "---|" * len(columns))
    for kind, counts in sorted(table.items()):
        print(f"| {kind} | " + " | ".join(str(counts[c]) for c in columns) + " |")


if __name__ == "__main__":
    main()

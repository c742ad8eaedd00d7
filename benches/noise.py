"""Writes full-size checkpoints with seeded weights, in torchvision's names: `python3 benches/noise.py FOLDER`.

resnet18, resnet50 and mobilenet_v2 `.safetensors`; those that are there stay. Python's own library is all it needs. Weights are from
one piece of noise that starts at another place for each tensor: for timing, that is as good as noise throughout.
"""

import array
import json
import math
import pathlib
import random
import struct
import sys

# No power of two, so that tensors do not repeat in step with their rows.
NOISE = 1_000_003


class Made:
    def __init__(self, seed: int):
        self.rng = random.Random(seed)
        self.noise = array.array("f", (self.rng.uniform(-1.732, 1.732) for _ in range(NOISE)))
        self.header, self.parts, self.end = {}, [], 0

    def push(self, name: str, shape: list[int], scale: float, centre: float = 0.0) -> None:
        """Values `centre + scale * noise of unit variance`."""
        count, at = math.prod(shape), self.rng.randrange(NOISE)
        noise = (self.noise[at:] + self.noise[:at])[:count]
        values = array.array("f", (centre + scale * v for v in noise))
        values = (values * -(-count // NOISE))[:count]
        if sys.byteorder == "big":
            values.byteswap()
        self.header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [self.end, self.end + 4 * count]}
        self.parts.append(values.tobytes())
        self.end += 4 * count

    def conv(self, name: str, out: int, per_group: int, kernel: int) -> None:
        self.push(f"{name}.weight", [out, per_group, kernel, kernel], math.sqrt(2 / (per_group * kernel * kernel)))

    def norm(self, name: str, channels: int, gain: float = 1.0) -> None:
        self.push(f"{name}.weight", [channels], 0.2 * gain, gain)
        self.push(f"{name}.bias", [channels], 0.1)
        self.push(f"{name}.running_mean", [channels], 0.1)
        self.push(f"{name}.running_var", [channels], 0.25, 1.0)

    def linear(self, name: str, out: int, inputs: int) -> None:
        self.push(f"{name}.weight", [out, inputs], 1 / math.sqrt(inputs))
        self.push(f"{name}.bias", [out], 0.1)

    def write(self, path: pathlib.Path) -> None:
        header = json.dumps(self.header).encode()
        header += b" " * (-len(header) % 8)
        part = path.with_suffix(".part")
        part.write_bytes(struct.pack("<Q", len(header)) + header + b"".join(self.parts))
        part.rename(path)


def resnet(made: Made, bottleneck: bool, layers: list[int]) -> None:
    made.conv("conv1", 64, 3, 7)
    made.norm("bn1", 64)
    channels = 64
    for stage, count in enumerate(layers):
        planes = 64 << stage
        out = planes * (4 if bottleneck else 1)
        for i in range(count):
            name = f"layer{stage + 1}.{i}"
            deep = [(planes, channels, 1), (planes, planes, 3), (out, planes, 1)]
            convs = deep if bottleneck else [(planes, channels, 3), (out, planes, 3)]
            for j, (o, c, k) in enumerate(convs, 1):
                made.conv(f"{name}.conv{j}", o, c, k)
                # Branches are scaled down, so that a deep network keeps its range.
                made.norm(f"{name}.bn{j}", o, 0.4 if j == len(convs) else 1.0)
            if i == 0 and (stage > 0 or bottleneck):
                made.conv(f"{name}.downsample.0", out, channels, 1)
                made.norm(f"{name}.downsample.1", out)
            channels = out
    made.linear("fc", 1000, channels)


def mobilenet_v2(made: Made) -> None:
    made.conv("features.0.0", 32, 3, 3)
    made.norm("features.0.1", 32)
    channels, index = 32, 1
    for expand, out, count in [(1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1)]:
        for _ in range(count):
            name, width, at = f"features.{index}.conv", channels * expand, 0
            if expand != 1:
                made.conv(f"{name}.0.0", width, channels, 1)
                made.norm(f"{name}.0.1", width)
                at = 1
            made.conv(f"{name}.{at}.0", width, 1, 3)
            made.norm(f"{name}.{at}.1", width)
            made.conv(f"{name}.{at + 1}", out, width, 1)
            made.norm(f"{name}.{at + 2}", out, 0.4)
            channels, index = out, index + 1
    made.conv(f"features.{index}.0", 1280, channels, 1)
    made.norm(f"features.{index}.1", 1280)
    made.linear("classifier.1", 1000, 1280)


NETWORKS = {
    "resnet18": lambda made: resnet(made, False, [2, 2, 2, 2]),
    "resnet50": lambda made: resnet(made, True, [3, 4, 6, 3]),
    "mobilenet_v2": mobilenet_v2,
}


def main() -> None:
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (name, make) in enumerate(NETWORKS.items(), 1):
        path = folder / f"{name}.safetensors"
        if not path.exists():
            made = Made(seed)
            make(made)
            made.write(path)


main()

#!/usr/bin/env python3
"""Writes the seeds under fuzz/corpus: python3 fuzz/seeds.py

Targets that read choices from their bytes get noise of several lengths; those that read files get small whole files too.
"""
import json
import random
import shutil
from pathlib import Path

HERE = Path(__file__).resolve().parent
FIXTURES = HERE.parent / "tests" / "fixtures"
TARGETS = "checkpoint saved config preprocess tuning images pickle onnx kernels plan".split()


def write(target: str, name: str, data: bytes) -> None:
    path = HERE / "corpus" / target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def whole(first: int, data: bytes) -> bytes:
    """A file as it is: the first byte says so."""
    return bytes([first]) + data


def tensors(path: Path):
    """Names and bytes of the tensors of a safetensors file."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    for name, entry in sorted(json.loads(data[8:start]).items()):
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            yield name, data[start + begin : start + end]


shutil.rmtree(HERE / "corpus", ignore_errors=True)
for target in TARGETS:
    for i, length in enumerate([48, 96, 160, 256, 400, 700]):
        noise = random.Random(f"{target} {i}").randbytes(length)
        write(target, f"noise{i}", whole(noise[0] | 0xC0, noise[1:]))

for path in sorted((FIXTURES / "pickles").glob("*.pth")):
    if path.stat().st_size < 6000:
        write("pickle", path.stem, whole(0, path.read_bytes()))

for path in sorted((FIXTURES / "pil").glob("*.png")):
    if path.stat().st_size < 4500:
        write("images", path.stem, whole(0, path.read_bytes()))
        write("images", f"{path.stem}_checked", whole(100, path.read_bytes()))
for name, data in tensors(FIXTURES / "images" / "cases.safetensors"):
    if data[:2] == b"\xff\xd8" or data[:4] == b"\x89PNG":
        if len(data) < 1500:
            write("images", name.replace("/", "_").replace(".", "_"), whole(0, data))

tuning = {
    "schema_version": 2,
    "adapters": [{"adapter": "a", "driver": "d", "backend": "vulkan", "rmnet": "0.1.0", "kernels": {}}],
}
write("tuning", "text", whole(2, json.dumps(tuning).encode()))
config = (FIXTURES / "timm_resnet18" / "config.json").read_bytes()
write("config", "text", bytes([9, 2, 255, 7]) + config)
weights = (FIXTURES / "rmrepvgg_cifar" / "model.safetensors").read_bytes()
write("checkpoint", "header", whole(20, weights[:2000]))

size = sum(p.stat().st_size for p in (HERE / "corpus").rglob("*") if p.is_file())
print(f"{size} bytes")

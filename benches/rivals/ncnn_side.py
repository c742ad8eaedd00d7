"""Times ncnn-Vulkan beside rmnet on one adapter, interleaved, on the same weights and input; every answer is checked.

    python -m venv venv && venv/bin/pip install torch torchvision safetensors ncnn pnnx
    cargo bench --no-run
    venv/bin/python benches/rivals/ncnn_side.py resnet18 [--rounds 5] [--runs 10]

Weights are torchvision's own initialisation under a fixed seed, with lively batch-norm statistics. Each round times ncnn and
then rmnet, each in a fresh process after warm-up, host tensor to host logits; medians over all runs, and the ratio of medians.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

import numpy as np
import torch
import torchvision
from safetensors.numpy import load_file, save_file

ROOT = pathlib.Path(__file__).resolve().parents[2]


def build(name: str, folder: pathlib.Path) -> None:
    """Writes model.safetensors, input and expected logits, and ncnn's two files."""
    torch.manual_seed(0)
    model = getattr(torchvision.models, name)(weights=None).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.7, 1.3)
            module.weight.data.uniform_(0.4, 0.9)
            module.bias.data.normal_(0, 0.1)
    image = torch.rand(1, 3, 224, 224)
    logits = model.double()(image.double()).detach().numpy()
    model = model.float()
    weights = {k: v.numpy() for k, v in model.state_dict().items() if "num_batches" not in k}
    save_file(weights, folder / "model.safetensors")
    save_file({"input": image.numpy()}, folder / "input.safetensors")
    save_file({"logits": logits}, folder / "expected.safetensors")
    import pnnx

    pnnx.export(model, str(folder / "model.pt"), image, fp16=False)


def time_ncnn(folder: pathlib.Path, runs: int, vulkan: bool) -> dict:
    """One process's worth of ncnn runs: seconds each, and the logits."""
    import ncnn
    import time

    net = ncnn.Net()
    net.opt.use_vulkan_compute = vulkan
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.load_param(str(folder / "model.ncnn.param"))
    net.load_model(str(folder / "model.ncnn.bin"))
    image = load_file(folder / "input.safetensors")["input"][0]
    times, logits = [], None
    for i in range(runs + 2):
        start = time.perf_counter()
        with net.create_extractor() as extractor:
            extractor.input("in0", ncnn.Mat(image).clone())
            _, out = extractor.extract("out0")
            logits = np.array(out)
        if i >= 2:
            times.append(time.perf_counter() - start)
    return {"ms": [t * 1e3 for t in times], "logits": logits.ravel().tolist()}


def time_rmnet(folder: pathlib.Path, runs: int, extra: list[str]) -> dict:
    """One process's worth of rmnet runs, by the committed benchmark."""
    command = ["cargo", "bench", "-q", "--bench", "networks", "--", str(folder / "model.safetensors"),
               "--input", str(folder / "input.safetensors"), "--runs", str(runs), "--json", *extra]
    out = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return json.loads(out.strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=["resnet18", "resnet34", "resnet50"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--folder", type=pathlib.Path)
    parser.add_argument("--ncnn-process", action="store_true", help=argparse.SUPPRESS)
    args, extra = parser.parse_known_args()
    if args.ncnn_process:
        print(json.dumps(time_ncnn(args.folder, args.runs, vulkan=True)))
        return
    folder = args.folder or pathlib.Path(tempfile.mkdtemp(prefix="rmnet-rivals-"))
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "model.ncnn.param").exists():
        build(args.model, folder)
    expected = load_file(folder / "expected.safetensors")["logits"].ravel()
    times: dict[str, list[float]] = {"ncnn-Vulkan": [], "rmnet": []}
    for _ in range(args.rounds):
        command = [sys.executable, __file__, args.model, "--folder", folder, "--runs", str(args.runs), "--ncnn-process"]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        for name, result in [("ncnn-Vulkan", json.loads(out.strip().splitlines()[-1])),
                             ("rmnet", time_rmnet(folder, args.runs, extra))]:
            error = np.abs(np.array(result["logits"]) - expected).max() / np.abs(expected).max()
            assert error < 1e-4, f"{name}: logits are off by {error:.1e} of the largest"
            times[name] += result["ms"]
    medians = {name: statistics.median(ms) for name, ms in times.items()}
    for name, ms in times.items():
        print(f"{args.model} {name:<12} median {medians[name]:8.1f} ms   min {min(ms):8.1f}   runs {len(ms)}")
    print(f"ratio of medians, ncnn-Vulkan / rmnet: {medians['ncnn-Vulkan'] / medians['rmnet']:.2f}")


if __name__ == "__main__":
    main()

"""The table of families at full size: what is converted, dispatches and memory before and after, and how far the logits are
from PyTorch's in f64 on every executor.

    python -m venv venv && venv/bin/pip install -r tests/fixtures/requirements.txt
    cargo build --release
    venv/bin/python benches/families.py [--adapters cpu llvmpipe ...] [NAME...]

Networks are the libraries' own, at their own sizes, with seeded weights: their own initialisation, batch-norm statistics made
lively. `before` is the residual graph (Adds fused the ordinary way), `after` what runs.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile

import timm
import torch
import torchvision
from safetensors.torch import load_file, save_file
from timm.models._hub import save_config_for_hf
from torch import nn
from transformers import MobileNetV2Config, MobileNetV2ForImageClassification, ResNetConfig, ResNetForImageClassification

ROOT = pathlib.Path(__file__).resolve().parents[1]
RMNET = ROOT / "target" / "release" / "rmnet"


def tv(name):
    return lambda folder: getattr(torchvision.models, name)(weights=None)


def from_timm(name):
    def build(folder):
        net = timm.create_model(name, pretrained=False)
        save_config_for_hf(net, folder / "config.json")
        return net

    return build


def hugging_face(network, config):
    def build(folder):
        net = network(config)
        net.config.save_pretrained(folder)
        return net

    return build


class Deployed:
    """A RepVGG with its branches summed by timm's own code."""

    def __init__(self, name):
        self.name = name

    def __call__(self, folder):
        net = timm.create_model(self.name, pretrained=False)
        lively(net)
        save_config_for_hf(net, folder / "config.json")
        for module in net.modules():
            if hasattr(module, "reparameterize"):
                module.reparameterize()
        return net


NETWORKS = {
    "ResNet-18, torchvision": tv("resnet18"),
    "ResNet-50, torchvision": tv("resnet50"),
    "ResNeXt-50 32x4d, torchvision": tv("resnext50_32x4d"),
    "Wide ResNet-50-2, torchvision": tv("wide_resnet50_2"),
    "ResNet-50, Hugging Face": hugging_face(ResNetForImageClassification, ResNetConfig(num_labels=1000)),
    "SE-ResNet-50, timm": from_timm("seresnet50"),
    "SE-ResNeXt-26d, timm": from_timm("seresnext26d_32x4d"),
    "ResNet-50-D, timm": from_timm("resnet50d"),
    "ResNet-26-T, timm": from_timm("resnet26t"),
    "ResNetV2-50, timm": from_timm("resnetv2_50"),
    "ResNetV2-50-D, timm": from_timm("resnetv2_50d"),
    "RepVGG-A0, timm": from_timm("repvgg_a0"),
    "RepVGG-A0 deployed, timm": Deployed("repvgg_a0"),
    "RepVGG-B1g4, timm": from_timm("repvgg_b1g4"),
    "MobileNetV2, torchvision": tv("mobilenet_v2"),
    "MobileNetV2, timm": from_timm("mobilenetv2_100"),
    "MobileNetV2, Hugging Face": hugging_face(
        MobileNetV2ForImageClassification, MobileNetV2Config(num_labels=1001, hidden_act="relu6")
    ),
}


def lively(net):
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.7, 1.3)
            module.weight.data.uniform_(0.4, 0.9)
            module.bias.data.normal_(0, 0.1)


def rmnet(*args):
    done = subprocess.run([RMNET, "--json", *map(str, args)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"rmnet {' '.join(map(str, args))}: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout)


def row(name, build, adapters):
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as temp, tempfile.TemporaryDirectory() as other:
        folder, data = pathlib.Path(temp), pathlib.Path(other)
        net = build(folder).eval()
        if not isinstance(build, Deployed):
            lively(net)
        save_file({k: v.contiguous() for k, v in net.state_dict().items()}, folder / "model.safetensors")
        inspected = rmnet("inspect", folder)
        shape = inspected["input"]
        image = torch.rand(1, *shape) * 2 - 1
        with torch.no_grad():
            logits = net.double()(image.double())
        logits = getattr(logits, "logits", logits)
        save_file({"input": image}, data / "input.safetensors")
        modes = rmnet("plan", folder)["modes"]
        errors = []
        for adapter in adapters:
            out = data / "logits.safetensors"
            rmnet("run", folder, data / "input.safetensors", "--adapter", adapter, "--logits", out)
            found = load_file(out)["logits"].double()
            errors.append(((found - logits).abs().max() / logits.abs().max()).item())
    blocks = inspected["blocks"]
    converted = sum(b["outcome"] != "kept" for b in blocks)
    before, after = modes["residual"], modes["structured"]
    mib = lambda b: f"{b / 2**20:.2f}"
    cells = [
        name,
        f"{converted} of {len(blocks)}",
        f"{before['dispatches']} → {after['dispatches']}",
        f"{mib(before['activation_bytes'])} → {mib(after['activation_bytes'])}",
        f"{after['macs'] / 1e9:.2f}",
        *(f"{e:.1e}" for e in errors),
    ]
    print("| " + " | ".join(cells) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--adapters", nargs="*", default=["cpu"])
    args = parser.parse_args()
    heads = ["network", "blocks converted", "dispatches", "activations, MiB", "GMAC", *(f"error, {a}" for a in args.adapters)]
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads), flush=True)
    for name, build in NETWORKS.items():
        if not args.names or any(n.lower() in name.lower() for n in args.names):
            row(name, build, args.adapters)


if __name__ == "__main__":
    main()

"""Trains a chain that rmnet wrote (`prune`, `convert`) a little further in PyTorch, and writes it back.

    venv/bin/pip install torch torchvision
    venv/bin/python benches/finetune.py CHAIN.safetensors OUT.safetensors [--epochs 3]

The block form is its own description: the chain is JSON in the file's metadata, and only what its blocks multiply is trained. A
Dirac block has nothing to train, so the result is the same structure, and runs with the same plan.
"""

import argparse
import json
import pathlib
import struct
import sys

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "assets" / "digits"))
BATCH = 64
PEAK_LEARNING_RATE = 2e-3


def metadata(path):
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        return json.loads(file.read(length))["__metadata__"]


def span(range):
    return slice(range["start"], range["end"])


class Chain(nn.Module):
    """The nodes of the file's metadata, operation by operation; those that the digits model has."""

    def __init__(self, path):
        super().__init__()
        self.nodes = json.loads(metadata(path)["rmnet"])["nodes"]
        self.tensors = nn.ParameterDict({name.replace(".", "/"): t for name, t in load_file(path).items()})

    def tensor(self, name):
        return self.tensors[name.replace(".", "/")]

    def conv(self, node, x):
        terms, trained = [], torch.zeros(node["out_channels"])
        for block in node["blocks"]:
            part, stride, kind = x[:, span(block["input"])], node["stride"], block["kind"]
            if kind == "dirac":
                term = part[:, :, :: stride[0], :: stride[1]]
            elif kind == "pointwise":
                term = F.conv2d(part, self.tensor(block["tensor"]), stride=stride)
            elif kind == "dense":
                weight = self.tensor(block["tensor"])
                term = F.conv2d(part, weight, None, stride, node["padding"], node["dilation"], block["groups"])
            else:
                raise SystemExit(f"{node['name']}: a block of kind {kind} is not trained here")
            if kind != "dirac":
                trained[span(block["out"])] = 1
            out = block["out"]
            terms.append(F.pad(term, (0, 0, 0, 0, out["start"], node["out_channels"] - out["end"])))
        # What is only handed on keeps a bias of zero.
        bias = self.tensor(node["bias"]) * trained
        y = sum(terms) + bias[:, None, None]
        kinds = {kind for _, kind in node["activation"]}
        if kinds == {"relu"}:
            return F.relu(y)
        if kinds == {"identity"}:
            return y
        raise SystemExit(f"{node['name']}: activations {kinds} are not trained here")

    def forward(self, x):
        values = [x]
        for node in self.nodes:
            x = values[node["inputs"][0]]
            if node["op"] == "conv2d":
                values.append(self.conv(node, x))
            elif node["op"] == "global_average":
                values.append(x.mean((2, 3), keepdim=True))
            else:
                raise SystemExit(f"{node['name']}: {node['op']} is not trained here")
        return values[-1].flatten(1)


def finetune(source, target, x, labels, background, epochs, seed=0):
    """Adam, one cycle, the augmentation that the model was trained with."""
    from train import augment

    torch.manual_seed(seed)
    model = Chain(source)
    steps = epochs * -(-len(x) // BATCH)
    optimizer = torch.optim.Adam(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LEARNING_RATE, total_steps=steps)
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(BATCH):
            loss = F.cross_entropy(model(augment(x[batch], background)), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    tensors = {n.replace("/", "."): t.detach().contiguous() for n, t in model.tensors.items()}
    save_file(tensors, target, metadata(source))


def training_set():
    """The digits that the bundled model was trained on, as it reads them: images, labels, the value of the background."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
    from train import HERE, SEED, to_image, to_tensor

    digits = load_digits()
    config = json.loads((HERE / "config.json").read_text())["pretrained_cfg"]
    mean, std = config["mean"][0], config["std"][0]
    everything = np.arange(len(digits.images))
    training, _ = train_test_split(everything, test_size=0.2, random_state=SEED, stratify=digits.target)
    x = to_tensor([to_image(digits.images[i]) for i in training], mean, std)
    return x, torch.from_numpy(digits.target[training]).long(), -mean / std


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("target")
    parser.add_argument("--epochs", type=int, default=3)
    args = parser.parse_args()
    finetune(args.source, args.target, *training_set(), args.epochs)


if __name__ == "__main__":
    main()

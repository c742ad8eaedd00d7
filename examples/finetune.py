"""Fine-tunes a residual-free chain in PyTorch and gives it back to rmnet.

    python -m pip install torch safetensors numpy
    rmnet convert assets/digits --literal -o chain.safetensors
    python examples/finetune.py chain.safetensors assets/digits/expected.safetensors tuned.safetensors --frozen
    rmnet plan tuned.safetensors            # as many dispatches as for assets/digits
    rmnet run  tuned.safetensors assets/digits/images/*.png --top 1

The literal form is a plain sequence of convolutions, activations and pools, so that it becomes an `nn.Sequential`. It holds
the kernels that carry a block's input along (1 at the centre tap of one input, 0 elsewhere) among its learned weights. With
`--frozen` the gradients of these ones and zeros are masked: rmnet then finds the structure again, and plans the tuned
network as it plans the original, with no multiply for what is only carried. Without it every weight learns, and the network
runs as the larger plain chain that it then is.

The second argument holds `input` [N,3,H,W], normalised images of the chain's own size, and `logits` [N,classes], whose
largest are the classes to learn: replace `batches` by your own data. `--expected FILE` writes the same images with the logits
of the tuned network, computed in float64.

Networks that are no sequence (squeeze-and-excitation, or a residual connection that was kept) are refused. An optimiser with
weight decay would move the ones: use none, or leave the convolutions out of it.
"""

import argparse
import json

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

KEY = "rmnet"  # of the chain in the file's metadata
VERSION = 1  # of its layout


class Ranges(nn.Module):
    """A function per range of channels: `[(start, end, function)]`, in order."""

    def __init__(self, ranges):
        super().__init__()
        self.sizes = [end - start for start, end, _ in ranges]
        self.functions = nn.ModuleList(function for *_, function in ranges)

    def forward(self, x):
        parts = x.split(self.sizes, dim=1)
        return torch.cat([f(part) for f, part in zip(self.functions, parts)], dim=1)


class Chain:
    """The network of a literal file: `network`, and the parameter that each tensor of the file became."""

    def __init__(self, path):
        with safe_open(path, "pt") as file:
            self.metadata = file.metadata() or {}
            self.tensors = {name: file.get_tensor(name) for name in file.keys()}
        if KEY not in self.metadata:
            raise SystemExit(f"{path}: no chain of rmnet; write one with `rmnet convert --literal`")
        chain = json.loads(self.metadata[KEY])
        if chain["version"] != VERSION:
            raise SystemExit(f"{path}: expected version {VERSION} of the chain, found {chain['version']}")
        self.image = chain["input"]
        self.parameters = {}
        self.convolutions = []
        layers = []
        for i, node in enumerate(chain["nodes"]):
            # Value 0 is the input, value i + 1 that of node i.
            if node["inputs"] != [i]:
                raise SystemExit(f"{node['name']}: expected to read value {i} alone, found {node['inputs']}: no plain sequence")
            layers += self.layer(node)
        self.network = nn.Sequential(*layers, nn.Flatten())

    def layer(self, node):
        if node["op"] == "conv2d":
            return self.convolution(node)
        if node["op"] == "activation":
            return [self.function(node["activation"])]
        if node["op"] == "max_pool":
            return [nn.MaxPool2d(node["kernel"], node["stride"], node["padding"])]
        if node["op"] == "global_average":
            return [nn.AdaptiveAvgPool2d(1)]
        raise SystemExit(f"{node['name']}: {node['op']} is no part of a plain sequence")

    def convolution(self, node):
        name, blocks = node["name"], node["blocks"]
        whole = [(0, node["out_channels"]), (0, node["in_channels"])]
        ranges = [[(b[side]["start"], b[side]["end"]) for side in ("out", "input")] for b in blocks]
        if ranges != [whole] or blocks[0]["kind"] != "dense":
            raise SystemExit(
                f"{name}: a weight of blocks, no plain kernel; write the chain with `rmnet convert --literal`, "
                "for an even --size where the network pools its shortcuts"
            )
        conv = nn.Conv2d(
            node["in_channels"],
            node["out_channels"],
            node["kernel"],
            node["stride"],
            dilation=node["dilation"],
            groups=blocks[0]["groups"],
        )
        conv.weight = self.parameter(blocks[0]["tensor"])
        conv.bias = self.parameter(node["bias"])
        self.convolutions.append(conv)
        (top, left), (bottom, right) = node["padding"], node.get("padding_end", node["padding"])
        layers = [conv]
        if (top, left) == (bottom, right):
            conv.padding = (top, left)
        else:
            layers.insert(0, nn.ZeroPad2d((left, right, top, bottom)))
        functions = [(r["start"], r["end"], self.function(kind)) for r, kind in node["activation"]]
        if len(functions) == 1:
            layers.append(functions[0][2])
        else:
            layers.append(Ranges(functions))
        return layers

    def function(self, kind):
        simple = {"identity": nn.Identity, "relu": nn.ReLU, "relu6": nn.ReLU6, "sigmoid": nn.Sigmoid}
        if isinstance(kind, str):
            return simple[kind]()
        slopes = self.parameter(kind["prelu"]["tensor"])
        prelu = nn.PReLU(len(slopes))
        prelu.weight = slopes
        return prelu

    def parameter(self, name):
        self.parameters[name] = nn.Parameter(self.tensors[name])
        return self.parameters[name]

    def save(self, path):
        tensors = {name: p.detach().float().contiguous() for name, p in self.parameters.items()}
        save_file(tensors, path, self.metadata)


def freeze(conv):
    """Masks the gradients of a convolution's structure: zeros, ones, and the rows that carry a channel or a 2x2 mean."""
    weight = conv.weight.detach()
    rows = weight.flatten(1)
    learned = (weight != 0) & (weight != 1)
    used = (rows != 0).sum(1)
    dirac = (used == 1) & (rows == 1).any(1)
    mean = (used == 4) & ((rows == 0.25).sum(1) == 4)
    carried = dirac | mean
    learned[carried] = False
    conv.weight.register_hook(lambda g: g * learned)
    conv.bias.register_hook(lambda g: g * ~carried)


def batches(data, steps, size):
    """Random images with their classes."""
    classes = data["logits"].argmax(1)
    for _ in range(steps):
        chosen = torch.randperm(len(classes))[:size]
        yield data["input"][chosen], classes[chosen]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("chain", help="what `rmnet convert --literal` wrote")
    parser.add_argument("data", help="a .safetensors with `input` and `logits`")
    parser.add_argument("output", help="the tuned chain")
    parser.add_argument("--frozen", action="store_true", help="leave what only carries channels as it is")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate")
    parser.add_argument("--expected", help="write the images and the tuned network's float64 logits")
    args = parser.parse_args()
    torch.manual_seed(0)
    chain, data = Chain(args.chain), load_file(args.data)
    if list(data["input"].shape[1:]) != chain.image:
        raise SystemExit(f"{args.data}: expected images {chain.image}, found {list(data['input'].shape[1:])}")
    if args.frozen:
        for conv in chain.convolutions:
            freeze(conv)
    optimiser = torch.optim.SGD(chain.network.parameters(), lr=args.rate, momentum=0.9)
    for step, (images, classes) in enumerate(batches(data, args.steps, args.batch)):
        loss = nn.functional.cross_entropy(chain.network(images), classes)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        print(f"step {step:3}  loss {loss.item():.4f}")
    chain.save(args.output)
    if args.expected:
        with torch.no_grad():
            logits = chain.network.double()(data["input"].double())
        save_file({"input": data["input"], "logits": logits}, args.expected)


if __name__ == "__main__":
    main()

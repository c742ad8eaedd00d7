"""Wrappers x heads x naming schemes: small networks of PyTorch's libraries, saved as people hold them, run by rmnet on the CPU and
compared with the library's own float64 forward pass.

    python benches/checkpoints.py RMNET [-o benches/results/checkpoints.md]

Needs torch, torchvision, timm, transformers and safetensors. Exit code 1 where anything is refused that should run, or is off by more
than 1e-5 of the largest value.
"""
import argparse
import collections
import pathlib
import subprocess
import sys
import tempfile

import timm
import torch
import torchvision
import transformers
from safetensors.torch import load_file, save_file
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from timm.models.resnetv2 import ResNetV2
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("rmnet")
parser.add_argument("-o", "--output")
parser.add_argument("--all", action="store_true", help="every wrapper with every head, not a third of them in turn")
parser.add_argument("--formats", default="safetensors", help="safetensors, pth, legacy: comma-separated")
args = parser.parse_args()
work = pathlib.Path(tempfile.mkdtemp())


def lively(module, seed):
    """Weights and statistics under which no layer is negligible."""
    g = torch.Generator().manual_seed(seed)
    for m in module.modules():
        if isinstance(m, nn.modules.batchnorm._BatchNorm):
            n = m.num_features
            m.running_mean.copy_(torch.randn(n, generator=g) * 0.3)
            m.running_var.copy_(torch.rand(n, generator=g) + 0.5)
            m.weight.data.copy_(torch.rand(n, generator=g) * 1.2 + 0.2)
            m.bias.data.copy_(torch.randn(n, generator=g) * 0.3)
        elif isinstance(m, (nn.Conv2d, nn.Linear)):
            m.weight.data.copy_(torch.randn(m.weight.shape, generator=g) * (1.6 / m.weight[0].numel()) ** 0.5)
            if m.bias is not None:
                m.bias.data.copy_(torch.randn(m.bias.shape, generator=g) * 0.2)
    return module.eval()


def hugging_face(kind):
    config = transformers.ResNetConfig(embedding_size=12, hidden_sizes=[12, 20, 28], depths=[1, 2, 1], layer_type=kind, num_labels=7)
    return transformers.ResNetForImageClassification(config)


# Name: how it is made, and where its head is.
SCHEMES = {
    "torchvision BasicBlock": (lambda: torchvision.models.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=7), "fc"),
    "torchvision Bottleneck, grouped": (
        lambda: torchvision.models.ResNet(torchvision.models.resnet.Bottleneck, [1, 1, 1, 1], num_classes=7, groups=4, width_per_group=8), "fc"),
    "timm BasicBlock": (lambda: ResNet(BasicBlock, (1, 2, 1, 1), num_classes=7, channels=(16, 24, 32, 40)), "fc"),
    "timm mixed blocks": (lambda: ResNet((BasicBlock, Bottleneck, BasicBlock, Bottleneck), (1, 1, 2, 1), num_classes=7, channels=(16, 24, 32, 40)), "fc"),
    "timm test_resnet": (lambda: timm.create_model("test_resnet", num_classes=7), "fc"),
    "timm ResNetV2": (lambda: ResNetV2(layers=(1, 1, 1), channels=(32, 48, 64), num_classes=7, norm_layer=timm.layers.BatchNormAct2d, conv_layer=timm.layers.create_conv2d, stem_type=""), "head.fc"),
    "Hugging Face basic": (lambda: hugging_face("basic"), "classifier.1"),
    "Hugging Face bottleneck": (lambda: hugging_face("bottleneck"), "classifier.1"),
    "torchvision MobileNetV2": (lambda: torchvision.models.mobilenet_v2(width_mult=0.25, num_classes=7), "classifier.1"),
    "timm MobileNetV2": (lambda: timm.create_model("mobilenetv2_035", num_classes=7), "classifier"),
    "timm RepVGG": (lambda: small_repvgg(), "head.fc"),
}


def small_repvgg():
    from timm.models.byobnet import ByoModelCfg, ByobNet, _rep_vgg_bcfg
    config = ByoModelCfg(blocks=_rep_vgg_bcfg(d=(1, 1, 2, 1), wf=(0.125, 0.125, 0.125, 0.0625)), stem_type="rep", stem_chs=8)
    return ByobNet(config, num_classes=7)


def get(module, path):
    for part in path.split("."):
        module = getattr(module, part) if not part.isdigit() else module[int(part)]
    return module


def put(module, path, new):
    *outer, last = path.split(".")
    owner = get(module, ".".join(outer)) if outer else module
    if last.isdigit():
        owner[int(last)] = new
    else:
        setattr(owner, last, new)


class Flat(nn.Module):
    def forward(self, x):
        return x.flatten(1)


def heads(features, own_is_conv):
    """Name of the head: module that replaces the network's own, and the name under which it is saved (None: the network's)."""
    def linear(bias=True):
        return nn.Conv2d(features, 7, 1, bias=bias) if own_is_conv else nn.Linear(features, 7, bias=bias)

    def sequence(*layers):
        return nn.Sequential(Flat(), *layers)

    return {
        "its own": (linear(), None),
        "none": (nn.Identity(), None),
        "no bias": (linear(False), None),
        "`fc` (linear)": (linear(), "fc"),
        "`head.fc`": (linear(), "head.fc"),
        "`head`": (linear(), "head"),
        "`classifier`": (linear(), "classifier"),
        "`linear`": (linear(), "linear"),
        "`last_linear`": (linear(), "last_linear"),
        "dropout, linear": (sequence(nn.Dropout(0.5), nn.Linear(features, 7)), None),
        "linear, ReLU, linear": (sequence(nn.Linear(features, 11), nn.ReLU(), nn.Linear(11, 7)), None),
        "linear, BN, ReLU, dropout, linear": (
            sequence(nn.Linear(features, 11, bias=False), nn.BatchNorm1d(11), nn.ReLU(), nn.Dropout(0.1), nn.Linear(11, 7)), None),
        "1x1 convolution": (nn.Conv2d(features, 7, 1), None) if own_is_conv else (nn.Sequential(nn.Unflatten(1, (features, 1, 1)), nn.Conv2d(features, 7, 1), Flat()), None),
    }


PREFIXES = ["", "module.", "_orig_mod.", "model.", "net.", "network.", "backbone.", "encoder.", "student.", "teacher.", "ema_model.", "resnet.", "0.",
            "state_dict.", "model_state_dict.", "state_dict_ema.", "module.model.", "model.backbone.", "_orig_mod.module.net.", "state_dict.model.module.", "trunk.feature_extractor."]


def wrappers():
    def prefixed(prefix):
        return lambda state, head: {prefix + k: v for k, v in state.items()}

    out = {f"`{p}`" if p else "none": prefixed(p) for p in PREFIXES}
    strays = {"n_averaged": torch.tensor(5), "epoch": torch.tensor([3]), "queue": torch.randn(16, 32), "queue_ptr": torch.zeros(1, dtype=torch.long),
              "criterion.weight": torch.rand(7), "loss_fn.class_weights": torch.rand(7), "normalize.mean": torch.rand(1, 3, 1, 1), "normalize.std": torch.rand(3),
              "opt.state.0.exp_avg": torch.randn(8, 3), "best": torch.tensor(True)}
    out["strays beside"] = lambda state, head: {**state, **strays}
    out["`module.` and strays"] = lambda state, head: {**{"module." + k: v for k, v in state.items()}, **strays}
    out["AveragedModel of compiled"] = lambda state, head: {**{"module._orig_mod." + k: v for k, v in state.items()}, "n_averaged": torch.tensor(9)}

    def split(prefix, beside):
        def wrap(state, head):
            return {(beside + k if head and (k + ".").startswith(head + ".") else prefix + k): v for k, v in state.items()}
        return wrap

    out["`backbone.`, head beside"] = split("backbone.", "")
    out["`model.backbone.`, head in `model.`"] = split("model.backbone.", "model.")
    out["training dictionary"] = lambda state, head: {**{"state_dict." + k: v for k, v in state.items()}, "epoch": torch.tensor(2),
                                                      "optimizer.state.0.exp_avg": torch.randn(8, 3, 7, 7), "optimizer.state.0.step": torch.tensor(4.0)}
    return out


def save(path, state, form):
    state = {k: v.detach().contiguous().clone() for k, v in state.items()}
    if form == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=form == "pth")


def main():
    x = torch.randn(2, 3, 64, 48, generator=torch.Generator().manual_seed(3))
    save_file({"input": x}, work / "in.safetensors")
    table = collections.OrderedDict()
    failures, count, turn = [], 0, 0
    for scheme, (make, own) in SCHEMES.items():
        torch.manual_seed(1)
        model = make()
        own_module = get(model, own)
        conv = isinstance(own_module, nn.Conv2d)
        features = own_module.in_channels if conv else own_module.in_features
        worst = collections.OrderedDict()
        for head, (module, name) in heads(features, conv).items():
            if name is not None and conv is False and name == own:
                continue
            put(model, own, module)
            lively(model, 5)
            with torch.no_grad():
                model.double()
                y = model(x.double())
                want = getattr(y, "logits", y).flatten(1)
                model.float()
            state = model.state_dict()
            where = own
            if name is not None:
                state = {(name + k[len(own):] if (k + ".").startswith(own + ".") else k): v for k, v in state.items()}
                where = name
            # A third of the wrappers for each head, another third for the next.
            turn += 1
            for wrapper, wrap in list(wrappers().items())[turn % 3 :: 3] if not args.all else wrappers().items():
                for form in args.formats.split(","):
                    path = work / ("m.safetensors" if form == "safetensors" else "m.pth")
                    save(path, wrap(state, where if head != "none" else None), form)
                    out = work / "y.safetensors"
                    out.unlink(missing_ok=True)
                    r = subprocess.run([args.rmnet, "run", path, work / "in.safetensors", "--size", "64x48", "--adapter", "cpu", "--logits", out],
                                       capture_output=True, text=True)
                    count += 1
                    if r.returncode:
                        failures.append(f"{scheme}, {wrapper}, {head}, {form}: {r.stderr.strip()[:300]}")
                        worst[head] = float("inf")
                        continue
                    got = next(iter(load_file(out).values())).double().flatten(1)
                    error = ((got - want).abs().max() / want.abs().max()).item() if got.shape == want.shape else float("inf")
                    worst[head] = max(worst.get(head, 0.0), error)
                    if not error < 1e-5:
                        failures.append(f"{scheme}, {wrapper}, {head}, {form}: off by {error:.1e}")
        table[scheme] = worst
        print(scheme, count, len(failures), file=sys.stderr, flush=True)
    names = list(heads(8, False))
    lines = [f"Largest error over wrappers, a third of {len(wrappers())} in turn, and the formats {args.formats}, relative to the largest value of the library's own float64 forward pass; {count} files.", "",
             "| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for scheme, worst in table.items():
        lines.append(f"| {scheme} | " + " | ".join(f"{worst[n]:.1e}" if n in worst else "(its own)" for n in names) + " |")
    lines += ["", "Wrappers: " + "; ".join(wrappers()) + ".", "",
              f"torch {torch.__version__}, torchvision {torchvision.__version__}, timm {timm.__version__}, transformers {transformers.__version__}."]
    text = "\n".join(lines) + "\n"
    print(text)
    if args.output:
        pathlib.Path(args.output).write_text("# Checkpoints as people hold them\n\n`python benches/checkpoints.py RMNET`. " + text)
    for failure in failures[:40]:
        print(failure)
    print(f"{len(failures)} of {count} failed")
    sys.exit(bool(failures))


main()

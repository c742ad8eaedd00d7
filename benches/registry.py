"""Which networks of torchvision's, timm's and transformers' own registries rmnet reads: docs/models.md.

    python -m venv venv && venv/bin/pip install -r tests/fixtures/requirements.txt
    venv/bin/python benches/registry.py RMNET                          all of them, then the page
    venv/bin/python benches/registry.py RMNET --libraries timm --names 'resnetv2*'     these alone; other rows stay
    venv/bin/python benches/registry.py RMNET --resume                 those that have no row yet, or failed
    venv/bin/python benches/registry.py --page                         only the page, from the rows there are

Nothing is downloaded. Each network is made by its library without weights, on the `meta` device where it can be, and its tensors' names,
shapes and types are written as a safetensors file whose data is a hole: zeros that take no disk. Beside it lies the config.json that the
library writes, and preprocessor_config.json. `rmnet inspect` reads it, and once more without config.json where it is recognised.
With timm, every pretrained tag of what is read is inspected too, as the tag's configuration has it.

What is read and small enough (`--check-parameters`) is made once more with seeded random weights and lively batch norms, and `rmnet run`
on the CPU compared with the library's own float64 forward pass. More than `--tolerance` of the largest value is WRONG; exit code 1.

Rows go to benches/results/models.tsv as they are made, so that a run can be cut short and resumed.
"""

import argparse
import collections
import contextlib
import csv
import datetime
import fnmatch
import json
import os
import pathlib
import re
import resource
import struct
import subprocess
import sys
import tempfile
import time
import warnings
import zlib

ROOT = pathlib.Path(__file__).resolve().parents[1]
LIBRARIES = ["torchvision", "timm", "transformers"]
COLUMNS = ["library", "module", "name", "variant_of", "parameters", "state", "reason", "family", "assumed", "without_config", "error", "size", "tags", "tags_read"]
READ, REFUSED, UNSEEN, WRONG, FAILED, UNMADE = "read", "refused", "not seen", "WRONG", "failed", "not made"
SAME = "same"


# ---------------------------------------------------------------------------------------------------------------------
# The registries
# ---------------------------------------------------------------------------------------------------------------------


class Entry:
    """A network of a registry: `make()` gives the module, `beside(net, folder)` writes what its library writes beside weights."""

    def __init__(self, library, module, name, make, beside=lambda net, folder: None, tags=(), variant_of="", state=lambda net: net.state_dict()):
        self.library, self.module, self.name, self.variant_of = library, module, name, variant_of
        self.make, self.beside, self.state = make, beside, state
        self.tags = tags


def torchvision_entries():
    from torchvision import models

    def entry(name):
        builder = models.get_model_builder(name)
        return Entry("torchvision", builder.__module__.split(".")[-1], name, lambda: builder(weights=None), tags=[str(w) for w in models.get_model_weights(name)])

    return [entry(name) for name in models.list_models(module=models)]


def timm_entry(name, tags=(), of=None):
    import timm
    from timm.models._hub import save_config_for_hf

    module = timm.model_entrypoint(of or name).__module__.split(".")[-1]
    return Entry("timm", module, name, lambda: timm.create_model(name, pretrained=False), lambda net, folder: save_config_for_hf(net, folder / "config.json"), tags)


def timm_entries():
    import timm

    tags = collections.defaultdict(list)
    for full in timm.list_models(pretrained=True):
        tags[full.split(".")[0]].append(full)
    return [timm_entry(name, tags[name]) for name in timm.list_models()]


def published():
    """Configurations that were published for transformers' residual networks, by model type; what they leave out is the default."""
    resnets = {18: ("basic", [2, 2, 2, 2]), 26: ("bottleneck", [2, 2, 2, 2]), 34: ("basic", [3, 4, 6, 3]), 50: ("bottleneck", [3, 4, 6, 3]),
               101: ("bottleneck", [3, 4, 23, 3]), 152: ("bottleneck", [3, 8, 36, 3])}
    widths = {"basic": [64, 128, 256, 512], "bottleneck": [256, 512, 1024, 2048]}
    mobile = dict(num_labels=1001, hidden_act="relu6", finegrained_output=True, tf_padding=True)
    regnets = """x-002 1,1,4,7 24,56,152,368 8; x-004 1,2,7,12 32,64,160,384 16; x-006 1,3,5,7 48,96,240,528 24; x-008 1,3,7,5 64,128,288,672 16;
        x-016 2,4,10,2 72,168,408,912 24; x-032 2,6,15,2 96,192,432,1008 48; x-040 2,5,14,2 80,240,560,1360 40; x-064 2,4,10,1 168,392,784,1624 56;
        x-080 2,5,15,1 80,240,720,1920 120; x-120 2,5,11,1 224,448,896,2240 112; x-160 2,6,13,1 256,512,896,2048 128; x-320 2,7,13,1 336,672,1344,2520 168;
        y-002 1,1,4,7 24,56,152,368 8; y-004 1,3,6,6 48,104,208,440 8; y-006 1,3,7,4 48,112,256,608 16; y-008 1,3,8,2 64,128,320,768 16;
        y-016 2,6,17,2 48,120,336,888 24; y-032 2,5,13,1 72,216,576,1512 24; y-040 2,6,12,2 128,192,512,1088 64; y-064 2,7,14,2 144,288,576,1296 72;
        y-080 2,4,10,1 168,448,896,2016 56; y-120 2,5,11,1 224,448,896,2240 112; y-160 2,4,11,1 224,448,1232,3024 112; y-320 2,5,12,1 232,696,1392,3712 232"""

    def numbers(text):
        return [int(n) for n in text.split(",")]

    def regnet(row):
        name, depths, hidden, width = row.split()
        return f"regnet-{name}", dict(depths=numbers(depths), hidden_sizes=numbers(hidden), groups_width=int(width), layer_type=name[0], num_labels=1000)

    return {
        "resnet": {f"resnet-{n}": dict(layer_type=kind, depths=depths, hidden_sizes=widths[kind], num_labels=1000) for n, (kind, depths) in resnets.items()},
        "mobilenet_v2": {f"mobilenet_v2_{w}_{s}": dict(depth_multiplier=float(w), image_size=s, **mobile) for w, s in [("1.4", 224), ("1.0", 224), ("0.75", 160), ("0.35", 96)]},
        "mobilenet_v1": {f"mobilenet_v1_{w}_{s}": dict(depth_multiplier=float(w), image_size=s, num_labels=1001) for w, s in [("1.0", 224), ("0.75", 192)]},
        "regnet": dict(map(regnet, regnets.split(";"))),
    }


def transformers_entries():
    import transformers
    from transformers.models.auto import modeling_auto
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
    from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING

    def processor(config):
        with contextlib.suppress(Exception):
            found = IMAGE_PROCESSOR_MAPPING[type(config)]
            for one in found.values() if isinstance(found, dict) else found:
                if one is not None:
                    return one() if not isinstance(one, str) else getattr(transformers, one)()
        return None

    def beside(net, folder):
        net.config.architectures = [type(net).__name__]
        net.config.save_pretrained(folder)
        found = processor(net.config)
        if found is not None:
            found.save_pretrained(folder)

    def state(net):
        """What `save_pretrained` writes."""
        from transformers.core_model_loading import revert_weight_conversion
        from transformers.modeling_utils import remove_tied_weights_from_state_dict

        tensors = {k: v for k, v in net.state_dict().items() if k not in (net._keys_to_ignore_on_save or ())}
        return revert_weight_conversion(net, remove_tied_weights_from_state_dict(tensors, net))

    def entry(kind, cls, name, arguments, variant_of=""):
        def make():
            return getattr(transformers, cls)(getattr(transformers, CONFIG_MAPPING_NAMES[kind])(**arguments))

        module = getattr(transformers, cls).__module__.split(".")[-1].removeprefix("modeling_")
        return Entry("transformers", module, name, make, beside, variant_of=variant_of, state=state)

    def classes(names):
        return (names,) if isinstance(names, str) else names

    heads, bodies, backbones = (getattr(modeling_auto, f"MODEL_{what}MAPPING_NAMES") for what in ["FOR_IMAGE_CLASSIFICATION_", "", "FOR_BACKBONE_"])
    variants, out = published(), []
    needed = {"timm_backbone": {"backbone": "resnet50"}}
    for kind in sorted({*heads, *backbones}):
        for names in (heads, bodies, backbones):
            for cls in classes(names.get(kind, ())):
                out.append(entry(kind, cls, cls, needed.get(kind, {})))
                out += [entry(kind, cls, f"{cls}, {v}", arguments, cls) for v, arguments in variants.get(kind, {}).items()]
    unique = {e.name: e for e in out}
    return list(unique.values())


ENTRIES = {"torchvision": torchvision_entries, "timm": timm_entries, "transformers": transformers_entries}


# ---------------------------------------------------------------------------------------------------------------------
# Files
# ---------------------------------------------------------------------------------------------------------------------


def skip_initialisation():
    """Tensors on `meta` have no values, and drawing them takes most of the time to make a network there."""
    import timm.layers.weight_init
    import torch.nn.init

    for module in (torch.nn.init, timm.layers.weight_init):
        for name, draw in list(vars(module).items()):
            if name.startswith(("_no_grad_", "_trunc_normal_")):
                setattr(module, name, lambda tensor, *a, draw=draw, **k: tensor if tensor.is_meta else draw(tensor, *a, **k))


def without_weights(make):
    """The module on the device `meta`, or on the CPU where it cannot be made there."""
    import torch

    try:
        with torch.device("meta"):
            return make()
    except Exception:
        limits = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (12 << 30, limits[1]))
        try:
            return make()
        finally:
            resource.setrlimit(resource.RLIMIT_AS, limits)


def with_room(make):
    """The module on the CPU, its own initialisation left out: every value is set later, but for buffers that no file has."""
    import torch
    from torch import nn

    net = without_weights(make)
    if {name for name, _ in net.named_buffers()} - net.state_dict().keys():
        return make()
    if next(net.parameters()).is_meta:
        net = net.to_empty(device="cpu")
        for t in [*net.parameters(), *net.buffers()]:
            t.fill_(1) if t.is_floating_point() else t.zero_()
        for module in net.modules():
            if isinstance(module, nn.PReLU):
                module.weight.fill_(0.25)
    return net


def write_hollow(path, tensors):
    """A safetensors file of these names, shapes and types, whose data is a hole."""
    import torch

    types = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64", torch.int32: "I32",
             torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL"}
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, tensor in tensors.items():
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": types[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)


class Rmnet:
    def __init__(self, program, timeout):
        self.program, self.timeout = program, timeout

    def __call__(self, *arguments):
        """Exit code (None: it took too long), standard output, and what it complains of."""
        command = [self.program, *map(str, arguments)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=self.timeout)
        except subprocess.TimeoutExpired:
            return None, "", f"took more than {self.timeout} s"
        return done.returncode, done.stdout, message(done.stdout, done.stderr)

    def inspect(self, path, *arguments):
        """State, reason, and the report of what is read."""
        code, out, why = self("inspect", path, "--json", *arguments)
        if code == 0:
            return READ, "", json.loads(out)
        if code != 3:
            return FAILED, f"exit code {code}: {why}", None
        return (UNSEEN if "unknown network, of no family that is supported" in why else REFUSED), why, None


def message(out, err):
    """The error on one line, without paths of this run."""
    text = err.strip() or out.strip()
    with contextlib.suppress(ValueError, TypeError, KeyError):
        text = json.loads(text)["error"]
    text = text if isinstance(text, str) else json.dumps(text)
    text = re.sub(r"^(rmnet|error): ", "", text)
    text = re.sub(r"/\S*/(?=\w+\.(safetensors|json))", "", text)
    text = re.sub(r"^model\.safetensors: ", "", text)
    # Not the list of what is known.
    return " ".join(text.split()).split("; looked for")[0]


# ---------------------------------------------------------------------------------------------------------------------
# Numbers
# ---------------------------------------------------------------------------------------------------------------------


def images(channels, size, seed):
    """Two unlike ones: fine noise, and noise of 8x8 pixels about a colour of its own."""
    import torch

    g = torch.Generator().manual_seed(seed)
    height, width = size
    fine = torch.randn(channels, height, width, generator=g)
    coarse = torch.randn(channels, -(-height // 8), -(-width // 8), generator=g).repeat_interleave(8, 1).repeat_interleave(8, 2)
    return torch.stack([fine, coarse[:, :height, :width] + 2 * torch.randn(channels, 1, 1, generator=g)])


def randomise(net, x, seed):
    """Lively batch norms, some of negative slope, and layers scaled on `x` so that each gives a deviation near 1: nothing vanishes."""
    import torch
    from torch import nn

    g = torch.Generator().manual_seed(seed)

    def normal(t, scale):
        return t.copy_(torch.randn(t.shape, generator=g) * scale)

    def uniform(t, low, high):
        return t.copy_(torch.rand(t.shape, generator=g) * (high - low) + low)

    def rescale(module, _, out):
        deviation = out.std()
        if not deviation > 1e-6:
            return out
        module.weight.mul_(1 / deviation)
        return out / deviation

    hooks, biases, seen = [], [], set()
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            normal(module.weight, 1.0)
            hooks.append(module.register_forward_hook(rescale))
            if module.bias is not None:
                biases.append(module.bias.zero_())
        elif isinstance(module, nn.modules.batchnorm._BatchNorm):
            normal(module.running_mean, 0.2)
            uniform(module.running_var, 0.5, 2.0)
            if module.affine:
                uniform(module.weight, 0.4, 1.2)
                module.weight.mul_(torch.where(torch.rand(module.weight.shape, generator=g) < 0.1, -1.0, 1.0))
                normal(module.bias, 0.2)
        else:
            for p in module.parameters(recurse=False):
                p.add_(torch.randn(p.shape, generator=g) * 0.1)
            continue
        seen.add(module)
    net(x)
    for hook in hooks:
        hook.remove()
    for bias in biases:
        normal(bias, 0.3)


def answer(net, x):
    """What the library computes: logits, or the pooled features where there is no head."""
    out = net(x)
    for key in ("logits", "pooler_output"):
        if getattr(out, key, None) is not None:
            return getattr(out, key).flatten(1)
    if getattr(out, "feature_maps", None) is not None:
        return out.feature_maps[-1].mean((2, 3))
    return out.flatten(1)


def check(entry, rmnet, folder, channels, size):
    """The largest error over the largest value, or why there is none."""
    import torch
    from safetensors.torch import load_file, save_file

    seed = zlib.crc32(f"{entry.library} {entry.name}".encode())
    net = with_room(entry.make).eval()
    x = images(channels, size, seed)
    randomise(net, x, seed)
    save_file({k: v.contiguous().clone() for k, v in entry.state(net).items()}, folder / "model.safetensors")
    save_file({"input": x}, folder / "input.safetensors")
    want = answer(net.double(), x.double())
    del net
    out = folder / "logits.safetensors"
    code, _, why = rmnet("run", folder / "model.safetensors", folder / "input.safetensors", "--size", f"{size[0]}x{size[1]}", "--adapter", "cpu", "--logits", out)
    if code != 0:
        return None, f"run, exit code {code}: {why}"
    got = next(iter(load_file(out).values())).double().flatten(1)
    if got.shape != want.shape:
        return float("inf"), f"shape {list(got.shape)}, not {list(want.shape)}"
    if not want.isfinite().all() or not (want[0] - want[1]).abs().max() > 0.01 * want.abs().max():
        return None, "the logits of the library say too little of their image to compare them"
    return ((got - want).abs().max() / want.abs().max()).item(), ""


# ---------------------------------------------------------------------------------------------------------------------
# Rows
# ---------------------------------------------------------------------------------------------------------------------


def row(entry, rmnet, args):
    out = dict.fromkeys(COLUMNS, "")
    out |= {"library": entry.library, "module": entry.module, "name": entry.name, "variant_of": entry.variant_of, "tags": len(entry.tags)}
    with tempfile.TemporaryDirectory() as temp:
        folder = pathlib.Path(temp)
        path = folder / "model.safetensors"
        try:
            net = without_weights(entry.make)
            out["parameters"] = sum(p.numel() for p in net.parameters())
            write_hollow(path, entry.state(net))
            entry.beside(net, folder)
            del net
        except Exception as error:
            return out | {"state": UNMADE, "reason": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}
        state, reason, report = rmnet.inspect(path)
        out |= {"state": state, "reason": reason}
        if (folder / "config.json").exists() and state != UNSEEN:
            out["without_config"] = without_config(rmnet, folder, report)
        if report is None:
            return out
        out["family"] = report["family"]
        out["assumed"] = assumptions(report)
        if entry.library == "timm":
            out["tags_read"] = tags_read(entry, rmnet)
        if out["parameters"] > args.check_parameters:
            return out
        out["size"] = "x".join(map(str, args.size))
        try:
            error, why = check(entry, rmnet, folder, report["input"][0], args.size)
        except Exception as fault:
            error, why = None, f"{type(fault).__name__}: {' '.join(str(fault).split())[:200]}"
        if error is not None:
            out["error"] = f"{error:.1e}"
        if why:
            out["reason"] = f"check: {why}"
        if error is None:
            out["state"] = FAILED
        elif not error < args.tolerance:
            out["state"] = WRONG
    return out


def assumptions(report):
    assumed = report.get("assumed") or {}
    if isinstance(assumed, dict):
        return "; ".join(f"{k}={v}" for k, v in assumed.items())
    return "; ".join(a if isinstance(a, str) else f"{a.get('key')}={a.get('value')}" for a in assumed)


def without_config(rmnet, folder, report):
    """The same file without config.json: `same` network, another, or why it is refused."""
    config = folder / "config.json"
    aside = folder / "aside"
    config.rename(aside)
    size = ["--size", "x".join(map(str, report["input"][1:]))] if report else []
    state, reason, other = rmnet.inspect(folder / "model.safetensors", *size)
    aside.rename(config)
    if other is None:
        return f"{state}: {reason}"
    if report is None:
        return f"read as {other['family']}"
    # The family has its library's name, which without a config is torchvision's.
    alike = all(report[key] == other[key] for key in ("input", "blocks", "graphs", "output"))
    return SAME if alike else f"read as another network, {other['family']}"


def tags_read(entry, rmnet):
    """How many of a network's pretrained tags are read with their own config.json. Configs that only say other sources are tried once."""
    known, count = {}, 0
    for tag in entry.tags:
        with tempfile.TemporaryDirectory() as temp:
            folder = pathlib.Path(temp)
            one = timm_entry(tag, of=entry.name)
            net = without_weights(one.make)
            one.beside(net, folder)
            config = json.loads((folder / "config.json").read_text())
            for key in ("tag", "custom_load", "origin_url", "paper_ids", "paper_name", "notes", "license", "license_link"):
                config.get("pretrained_cfg", {}).pop(key, None)
            key = json.dumps(config, sort_keys=True)
            if key not in known:
                write_hollow(folder / "model.safetensors", one.state(net))
                known[key], reason, _ = rmnet.inspect(folder / "model.safetensors")
                if known[key] != READ:
                    print(f"  tag {tag}: {known[key]}: {reason}", file=sys.stderr, flush=True)
            count += known[key] == READ
    return count


def read_rows(path):
    if not path.exists():
        return {}, {}
    head, lines = {}, []
    for line in path.read_text().splitlines():
        if line.startswith("# "):
            key, _, value = line[2:].partition(": ")
            head[key] = value
        else:
            lines.append(line)
    rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    return {(r["library"], r["name"]): r for r in rows}, head


def write_rows(path, rows, head):
    ordered = sorted(rows.values(), key=lambda r: (LIBRARIES.index(r["library"]), r["module"], natural(r["name"])))
    lines = [f"# {key}: {value}" for key, value in head.items()] + ["\t".join(COLUMNS)]
    lines += ["\t".join(str(r[c]).replace("\t", " ") for c in COLUMNS) for r in ordered]
    new = path.with_suffix(".new")
    new.write_text("\n".join(lines) + "\n")
    os.replace(new, path)


def natural(name):
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


# ---------------------------------------------------------------------------------------------------------------------
# The page
# ---------------------------------------------------------------------------------------------------------------------


def short(reason):
    """A refusal in few words."""
    text = re.sub(r" \(read as [^)]*\)", "", reason)
    text = re.sub(r"^timm `[^`]*` is recognised but not supported by this version: ", "", text)
    text = re.sub(r" is recognised but not supported by this version: the file has .*$", "", text)
    text = text.replace(" is recognised but not supported by this version", "")
    text = re.sub(r"of shape \[[^]]*\] is no layer of the network.*$", "is no layer of the network that is known", text)
    text = re.sub(r" of shape \[[^]]*\]", "", text)
    text = re.sub(r"^the file has several networks: .*$", "the file has several networks", text)
    text = re.sub(r"ImportError: \w+ requires the (\w+) library.*", r"needs \1", text)
    text = re.sub(r"config\.json has `model_args", "`model_args", text)
    return text if len(text) <= 160 else text[:157] + "..."


def millions(row):
    return f"{int(row['parameters']) / 1e6:.1f}" if row["parameters"] not in ("", None) else "-"


def grouped(rows):
    """Rows by reason, numbers aside, in order."""
    groups = collections.OrderedDict()
    for r in rows:
        key = (r["state"], re.sub(r"\d+", "#", short(r["reason"])) if r["state"] != UNSEEN else "", "read as" in r["without_config"])
        groups.setdefault(key, []).append(r)
    return groups.values()


def counts(rows):
    return collections.Counter(r["state"] for r in rows)


def without_configs(library, rows):
    """What becomes of a library's networks where config.json is not beside them."""
    lines = []
    refused = [r for r in rows if r["state"] == REFUSED and r["without_config"].startswith("read as")]
    others = [r for r in rows if r["state"] == READ and r["without_config"] not in ("", SAME)]
    compared = [r for r in rows if r["state"] == READ and r["without_config"]]
    if compared:
        lines += ["", f"Without config.json {len(compared) - len(others)} of {len(compared)} networks of {library} that are read with it are read as the same network" + (", others not:" if others else ".")]
        for why, names in by(others, lambda r: re.sub(r", .*", "", short(r["without_config"]))).items():
            lines.append(f"* {why}: {names}")
    if refused:
        lines += ["", f"Refused with config.json, but read without it, as what the tensors look like ({len(refused)} of {library}):"]
        for why, names in by(refused, lambda r: short(r["reason"])).items():
            lines.append(f"* {why}: {names}")
    return lines


def by(rows, key):
    groups = collections.OrderedDict()
    for r in rows:
        groups.setdefault(key(r), []).append(f"`{r['name']}`")
    return {k: ", ".join(names) for k, names in groups.items()}


def page(rows, head, command):
    rows = list(rows.values())
    of = {library: [r for r in rows if r["library"] == library] for library in LIBRARIES}
    lines = ["# Networks of the libraries' registries", "",
             "What rmnet makes of every image classifier that torchvision, timm and transformers list, as each library makes it and writes it.", "",
             "* **read**: `rmnet inspect` reads the tensors with the library's own config.json. *Checked* is the largest error of `rmnet run` on the CPU with seeded",
             f"  random weights, beside the library in f64, over the largest logit; `-` where a network has more than {float(head['check parameters']) / 1e6:.0f} M parameters. More than",
             f"  {float(head['tolerance']):.0e} is **WRONG**. Inputs are two of {head['size']}.",
             "* **refused**: the program says what it does not support. The family it names is the one that the tensors' names resemble, which need not be the network's own.",
             "* **not seen**: it says that it knows no such network, and nothing more.",
             "* **not made**: the library itself cannot make it by its default configuration.", "",
             "The page tells names, shapes and configs, not weights: no checkpoint was downloaded, and how images are prepared is not compared here.", "",
             f"torchvision {head['torchvision']}, timm {head['timm']}, transformers {head['transformers']}, torch {head['torch']}; {head['rmnet']}; {head['date']}.",
             f"`{command}`. Every row, with the whole message: `benches/results/models.tsv`.", "",
             "| | networks | read | checked | largest error | refused | not seen | not made | WRONG | failed |", "|---|---|---|---|---|---|---|---|---|---|"]
    for library in LIBRARIES:
        for what, some in (("", [r for r in of[library] if not r["variant_of"]]), (", published configurations", [r for r in of[library] if r["variant_of"]])):
            if some:
                c = counts(some)
                errors = [float(r["error"]) for r in some if r["error"] and r["state"] == READ]
                lines.append(f"| {library}{what} | {len(some)} | {c[READ]} | {len(errors)} | {f'{max(errors):.1e}' if errors else '-'} | {c[REFUSED]} | {c[UNSEEN]} | {c[UNMADE]} | {c[WRONG]} | {c[FAILED]} |")
    for library in LIBRARIES:
        left = int(head.get(f"{library} networks", 0)) - sum(not r["variant_of"] for r in of[library])
        if left:
            lines += ["", f"{left} more networks of {library} have not been tried yet."]
    tags = [sum(int(r["tags"] or 0) for r in of["timm"]), sum(int(r["tags_read"] or 0) for r in of["timm"])]
    weights = [sum(int(r["tags"] or 0) for r in of["torchvision"]), sum(int(r["tags"] or 0) for r in of["torchvision"] if r["state"] == READ)]
    if tags[0]:
        lines += ["", f"Of the {tags[0]} pretrained tags of these networks of timm {tags[1]} are read, each with its own config.json; of torchvision's {weights[0]} sets of weights {weights[1]} are of networks that are read."]
    for library in ("timm", "transformers"):
        lines += without_configs(library, of[library])
    for state in (WRONG, FAILED):
        some = [r for r in rows if r["state"] == state]
        if some:
            lines += ["", f"**{state}**:"] + [f"* {r['library']} `{r['name']}`: {('error ' + r['error'] + '. ') if r['error'] else ''}{short(r['reason'])}" for r in some]
    for library in LIBRARIES:
        if not of[library]:
            continue
        lines += ["", f"## {library}"]
        modules = collections.defaultdict(list)
        for r in of[library]:
            modules[r["module"]].append(r)
        rest = []
        for module, some in sorted(modules.items()):
            some.sort(key=lambda r: natural(r["name"]))
            if not any(r["state"] in (READ, WRONG) for r in some):
                rest.append((module, some))
                continue
            lines += ["", f"### `{module}`", "| | millions of parameters | | checked |", "|---|---|---|---|"]
            for r in some:
                if r["state"] in (READ, WRONG):
                    state = r["state"] if r["state"] == READ else f"**{WRONG}**"
                    lines.append(f"| {r['name']} | {millions(r)} | {state} | {r['error'] or '-'} |")
            for group in grouped([r for r in some if r["state"] not in (READ, WRONG)]):
                first = group[0]
                why = f"{first['state']}: {short(first['reason'])}" if first["state"] != UNSEEN else UNSEEN
                names = [r["name"] for r in group]
                listed = ", ".join(names) if len(names) <= 30 else f"{len(names)} networks, {names[0]} to {names[-1]}"
                lines.append(f"| {listed} | | {why} | |")
        if rest:
            lines += ["", "### Modules of which nothing is read", "| | networks | |", "|---|---|---|"]
            for module, some in rest:
                told = []
                for group in grouped(some):
                    first = group[0]
                    why = UNSEEN if first["state"] == UNSEEN else f"{first['state']}: {short(first['reason'])}"
                    told.append(f"{len(group)} {why}" if len(group) < len(some) else why)
                lines.append(f"| `{module}` | {len(some)} | {'; '.join(told)} |")
    return "\n".join(lines) + "\n"


# ---------------------------------------------------------------------------------------------------------------------


def versions(rmnet, args):
    import timm
    import torch
    import torchvision
    import transformers

    _, out, _ = rmnet("--version")
    return {"torchvision": torchvision.__version__.split("+")[0], "timm": timm.__version__, "transformers": transformers.__version__,
            "torch": torch.__version__.split("+")[0], "rmnet": " ".join([out.strip(), args.note]).strip(), "date": args.date, "size": "x".join(map(str, args.size)),
            "check parameters": str(int(args.check_parameters)), "tolerance": str(args.tolerance)}


def side(text):
    height, width = text.split("x")
    return int(height), int(width)


def main():
    parser = argparse.ArgumentParser(description="Writes docs/models.md and benches/results/models.tsv; the head of this file says how.")
    parser.add_argument("rmnet", nargs="?", help="the program; not needed with --page")
    parser.add_argument("--libraries", nargs="+", choices=LIBRARIES, default=LIBRARIES)
    parser.add_argument("--names", nargs="+", default=["*"], metavar="GLOB", help="only these networks")
    parser.add_argument("--modules", nargs="+", default=["*"], metavar="GLOB", help="only networks of these modules, such as resnet")
    parser.add_argument("--resume", action="store_true", help="leave networks that have a row, but for those that failed")
    parser.add_argument("--page", action="store_true", help="run nothing; write the page from the rows")
    parser.add_argument("--check-parameters", type=float, default=60e6, help="largest network whose logits are compared (60e6)")
    parser.add_argument("--size", type=side, default=(64, 75), metavar="HxW", help="of the inputs that are compared (64x75: an odd side shows how maps are rounded)")
    parser.add_argument("--tolerance", type=float, default=2e-5, help="largest error over the largest logit (2e-5)")
    parser.add_argument("--timeout", type=float, default=180, help="seconds for one call of the program (180)")
    parser.add_argument("--date", default=datetime.date.today().isoformat())
    parser.add_argument("--note", default="", help="beside the program's version, such as its commit")
    parser.add_argument("--tsv", type=pathlib.Path, default=ROOT / "benches/results/models.tsv")
    parser.add_argument("--output", type=pathlib.Path, default=ROOT / "docs/models.md")
    args = parser.parse_args()
    rows, head = read_rows(args.tsv)
    if not args.page:
        if args.rmnet is None:
            parser.error("which program? (or --page)")
        warnings.filterwarnings("ignore")
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        import torch

        torch.set_grad_enabled(False)
        torch.set_num_threads(1)
        skip_initialisation()
        rmnet = Rmnet(args.rmnet, args.timeout)
        head = {key: value for key, value in head.items() if key.endswith(" networks")} | versions(rmnet, args)
        for library in args.libraries:
            entries = ENTRIES[library]()
            head[f"{library} networks"] = str(sum(not e.variant_of for e in entries))
            entries = [e for e in entries if any(fnmatch.fnmatch(e.name, g) for g in args.names) and any(fnmatch.fnmatch(e.module, g) for g in args.modules)]
            entries = [e for e in entries if not (args.resume and rows.get((e.library, e.name), {"state": FAILED})["state"] not in (FAILED, UNMADE))]
            for at, entry in enumerate(entries):
                begun, spent = time.monotonic(), sum(os.times()[:4])
                r = row(entry, rmnet, args)
                rows[entry.library, entry.name] = r
                if at % 10 == 9 or at == len(entries) - 1:
                    write_rows(args.tsv, rows, head)
                print(f"{library} {at + 1}/{len(entries)} {entry.name}: {r['state']} {r['error']} {r['reason'][:150]} [{time.monotonic() - begun:.1f} s, CPU {sum(os.times()[:4]) - spent:.1f} s]", file=sys.stderr, flush=True)
        write_rows(args.tsv, rows, head)
        rows, head = read_rows(args.tsv)
    args.output.write_text(page(rows, head, "python benches/registry.py RMNET"))
    bad = [r for r in rows.values() if r["state"] in (WRONG, FAILED)]
    for r in bad:
        print(f"{r['state']}: {r['library']} {r['name']}: {r['error']} {r['reason']}")
    sys.exit(any(r["state"] == WRONG for r in bad))


if __name__ == "__main__":
    main()

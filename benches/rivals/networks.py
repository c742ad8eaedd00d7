"""Writes one network for every contender: `python networks.py NAME FOLDER`, in the environment of `pytorch/`.

    model.safetensors   torchvision's own layers and initialisation under a fixed seed, with lively batch-norm statistics
    input.safetensors   the input, seeded too; input.f32 the same as plain little-endian floats
    expected.f64        PyTorch's logits, computed in f64
    model.onnx          batch norms folded; shapes inferred, the classifier's weight transposed in the file
    graph.json          the same list of operations, for the contenders that have no importer; folded.safetensors its weights
    model.ncnn.*        from pnnx, ncnn's own converter

Batch norms are folded in f64 for everyone who would run them as layers: the friendlier form.
"""

import json
import pathlib
import shutil
import sys
import tempfile

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file
from torch import fx, nn
from torch.fx.experimental.optimization import fuse

from seeded import network


def pair(value) -> list[int]:
    return list(value) if isinstance(value, (tuple, list)) else [value, value]


def operations(net: nn.Module) -> tuple[list[dict], dict[str, torch.Tensor]]:
    """The folded network as a list of operations over named values, and its weights."""
    traced = fuse(net)
    ops, weights, alias = [], {}, {}
    modules = dict(traced.named_modules())
    for node in traced.graph.nodes:
        inputs = [alias.get(a.name, a.name) for a in node.args if isinstance(a, fx.Node)]
        module = modules.get(node.target) if node.op == "call_module" else None
        target = node.target if node.op == "call_function" else None
        op = {"inputs": inputs, "output": node.name}
        if node.op == "placeholder":
            alias[node.name] = "input"
            continue
        if node.op == "output" or isinstance(module, nn.Dropout):
            alias[node.name] = inputs[0]
            continue
        if isinstance(module, nn.Conv2d):
            op |= {"op": "conv", "stride": pair(module.stride), "pad": pair(module.padding), "groups": module.groups}
        elif isinstance(module, nn.Linear):
            op["op"] = "linear"
        elif isinstance(module, nn.MaxPool2d):
            op |= {"op": "maxpool", "kernel": pair(module.kernel_size), "stride": pair(module.stride),
                   "pad": pair(module.padding)}
        elif isinstance(module, nn.ReLU6):
            op["op"] = "relu6"
        elif isinstance(module, nn.ReLU):
            op["op"] = "relu"
        elif isinstance(module, nn.AdaptiveAvgPool2d) or target is nn.functional.adaptive_avg_pool2d:
            op["op"] = "mean"
        elif target is torch.flatten:
            op["op"] = "flatten"
        elif getattr(target, "__name__", "") in ("add", "iadd"):
            op["op"] = "add"
        else:
            raise SystemExit(f"{node.name}: no operation for {node.op} {node.target}")
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            op |= {"weight": f"{node.name}.weight", "bias": f"{node.name}.bias"}
            weights |= {op["weight"]: module.weight, op["bias"]: module.bias}
        ops.append(op)
    ops[-1]["output"] = "logits"
    return ops, {k: v.detach().float().contiguous() for k, v in weights.items()}


def to_onnx(name: str, ops: list[dict], weights: dict[str, torch.Tensor]) -> onnx.ModelProto:
    """The operations as an ONNX model any importer takes."""
    arrays = {k: v.numpy() for k, v in weights.items()}
    arrays |= {"zero": np.array(0, np.float32), "six": np.array(6, np.float32)}
    nodes, used = [], set()
    for op in ops:
        kind, attributes, extra = op["op"], {}, []
        if kind in ("conv", "linear"):
            extra = [op["weight"], op["bias"]]
        if kind == "conv":
            attributes = {"kernel_shape": list(arrays[extra[0]].shape[2:]), "strides": op["stride"],
                          "pads": op["pad"] * 2, "group": op["groups"], "dilations": [1, 1]}
        elif kind == "linear":
            arrays[extra[0]] = np.ascontiguousarray(arrays[extra[0]].T)
        elif kind == "maxpool":
            attributes = {"kernel_shape": op["kernel"], "strides": op["stride"], "pads": op["pad"] * 2}
        elif kind == "relu6":
            extra = ["zero", "six"]
        used.update(extra)
        onnx_op = {"conv": "Conv", "linear": "Gemm", "maxpool": "MaxPool", "relu": "Relu", "relu6": "Clip",
                   "mean": "GlobalAveragePool", "flatten": "Flatten", "add": "Add"}[kind]
        nodes.append(helper.make_node(onnx_op, op["inputs"] + extra, [op["output"]], name=op["output"], **attributes))
    graph = helper.make_graph(
        nodes, name,
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 224, 224])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 1000])],
        [numpy_helper.from_array(arrays[k], k) for k in sorted(used)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    onnx.checker.check_model(model, full_check=True)
    return model


def main() -> None:
    name, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    net = network(name)
    image = torch.rand(1, 3, 224, 224)
    save_file({k: v for k, v in net.state_dict().items() if "num_batches" not in k}, folder / "model.safetensors")
    save_file({"input": image}, folder / "input.safetensors")
    image.numpy().tofile(folder / "input.f32")

    import pnnx

    with tempfile.TemporaryDirectory() as scratch:
        pnnx.export(net, f"{scratch}/model.pt", image, fp16=False)
        for file in ("model.ncnn.param", "model.ncnn.bin"):
            shutil.copy(f"{scratch}/{file}", folder / file)
    net.double()
    with torch.no_grad():
        expected = net(image.double())
    expected.numpy().tofile(folder / "expected.f64")
    ops, weights = operations(net)
    (folder / "graph.json").write_text(json.dumps(ops))
    save_file(weights, folder / "folded.safetensors")
    onnx.save(to_onnx(name, ops, weights), folder / "model.onnx")
    (folder / "done").write_text("")


if __name__ == "__main__":
    main()

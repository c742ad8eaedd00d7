"""Writes ResNet-18 for every contender: `python network.py FOLDER`, with the packages of requirements.txt. No rmnet, no PyTorch.

    rmnet/model.safetensors   torchvision's names, batch norms as they are
    onnx/onnx/model.onnx      the residual network, batch norms folded; onnx/config.json and the input's name are for transformers.js
    tfjs/weights.bin, .json   the same folded weights: convolutions as [height, width, in, out], the classifier as [in, out]
    input.nchw.f32, .nhwc.f32 one seeded image, 224x224
    expected.f64              logits, computed by NumPy in f64 from the unfolded weights

Weights are random under a fixed seed, batch-norm statistics lively. The f64 logits are checked against ONNX Runtime on the CPU.
"""

import hashlib
import json
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

STAGES = [(64, 1), (128, 2), (256, 2), (512, 2)]  # channels, stride
CLASSES, SIDE = 1000, 224


def convolutions():
    """Name of the convolution, of its batch norm, and its shape [out, in, height, width]."""
    yield "conv1", "bn1", (64, 3, 7, 7)
    channels = 64
    for stage, (width, stride) in enumerate(STAGES, 1):
        for block in range(2):
            at = f"layer{stage}.{block}"
            yield f"{at}.conv1", f"{at}.bn1", (width, channels, 3, 3)
            yield f"{at}.conv2", f"{at}.bn2", (width, width, 3, 3)
            if block == 0 and (stride != 1 or width != channels):
                yield f"{at}.downsample.0", f"{at}.downsample.1", (width, channels, 1, 1)
            channels = width


def state(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The state dict: torchvision's initialisation, and batch norms that change their input."""
    tensors = {}
    for conv, bn, shape in convolutions():
        out, _, height, width = shape
        tensors[f"{conv}.weight"] = rng.normal(0, np.sqrt(2 / (out * height * width)), shape)
        tensors[f"{bn}.weight"] = rng.uniform(0.4, 0.9, out)
        tensors[f"{bn}.bias"] = rng.normal(0, 0.1, out)
        tensors[f"{bn}.running_mean"] = rng.normal(0, 0.1, out)
        tensors[f"{bn}.running_var"] = rng.uniform(0.7, 1.3, out)
    bound = 1 / np.sqrt(512)
    tensors["fc.weight"] = rng.uniform(-bound, bound, (CLASSES, 512))
    tensors["fc.bias"] = rng.uniform(-bound, bound, CLASSES)
    return {name: values.astype(np.float32) for name, values in tensors.items()}


def folded(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Weights and biases with each batch norm folded into its convolution, in f64."""
    result = {"fc.weight": tensors["fc.weight"].astype(np.float64), "fc.bias": tensors["fc.bias"].astype(np.float64)}
    for conv, bn, _ in convolutions():
        scale, shift, mean, variance = (
            tensors[f"{bn}.{part}"].astype(np.float64) for part in ("weight", "bias", "running_mean", "running_var")
        )
        factor = scale / np.sqrt(variance + 1e-5)
        result[f"{conv}.weight"] = tensors[f"{conv}.weight"] * factor[:, None, None, None]
        result[f"{conv}.bias"] = shift - mean * factor
    return result


class Reference:
    """The network on one image in f64."""

    def __init__(self, tensors):
        self.tensors = {name: values.astype(np.float64) for name, values in tensors.items()}

    def conv_bn(self, x, conv: str, bn: str, stride: int):
        weight = self.tensors[f"{conv}.weight"]
        pad = weight.shape[2] // 2
        padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[2:], (1, 2))[:, ::stride, ::stride]
        y = np.tensordot(weight, windows, ((1, 2, 3), (0, 3, 4)))
        scale, shift, mean, variance = (
            self.tensors[f"{bn}.{part}"][:, None, None] for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (y - mean) / np.sqrt(variance + 1e-5) * scale + shift

    def logits(self, image):
        x = np.maximum(self.conv_bn(image, "conv1", "bn1", 2), 0)
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
        x = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))[:, ::2, ::2].max((3, 4))
        for stage, (_, stride) in enumerate(STAGES, 1):
            for block in range(2):
                at, step = f"layer{stage}.{block}", stride if block == 0 else 1
                y = np.maximum(self.conv_bn(x, f"{at}.conv1", f"{at}.bn1", step), 0)
                y = self.conv_bn(y, f"{at}.conv2", f"{at}.bn2", 1)
                if f"{at}.downsample.0.weight" in self.tensors:
                    x = self.conv_bn(x, f"{at}.downsample.0", f"{at}.downsample.1", step)
                x = np.maximum(x + y, 0)
        return self.tensors["fc.weight"] @ x.mean((1, 2)) + self.tensors["fc.bias"]


def residual_onnx(weights: dict[str, np.ndarray]) -> onnx.ModelProto:
    """The network as exporters write it: Conv, Relu and Add, batch norms folded."""
    nodes = []

    def add(kind: str, inputs: list[str], output: str, **attributes) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def conv(x: str, name: str, stride: int, relu: bool) -> str:
        side = weights[f"{name}.weight"].shape[2]
        y = add("Conv", [x, f"{name}.weight", f"{name}.bias"], name, kernel_shape=[side] * 2, strides=[stride] * 2,
                pads=[side // 2] * 4, dilations=[1, 1], group=1)
        return add("Relu", [y], f"{name}.relu") if relu else y

    x = conv("pixel_values", "conv1", 2, True)
    x = add("MaxPool", [x], "maxpool", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    for stage, (_, stride) in enumerate(STAGES, 1):
        for block in range(2):
            at, step = f"layer{stage}.{block}", stride if block == 0 else 1
            y = conv(conv(x, f"{at}.conv1", step, True), f"{at}.conv2", 1, False)
            if f"{at}.downsample.0.weight" in weights:
                x = conv(x, f"{at}.downsample.0", step, False)
            x = add("Relu", [add("Add", [y, x], f"{at}.add")], f"{at}.relu")
    x = add("Flatten", [add("GlobalAveragePool", [x], "avgpool")], "flatten")
    add("Gemm", [x, "fc.weight", "fc.bias"], "logits", transB=1)
    graph = helper.make_graph(
        nodes, "resnet18",
        [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, CLASSES])],
        [numpy_helper.from_array(values, name) for name, values in weights.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def save_safetensors(path: pathlib.Path, tensors: dict[str, np.ndarray]) -> None:
    header, at = {}, 0
    for name, values in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [at, at + values.nbytes]}
        at += values.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(values.tobytes() for values in tensors.values()))


def save_tfjs(folder: pathlib.Path, weights: dict[str, np.ndarray]) -> None:
    """Tensors one after another, as tfjs lays them out, and their names and shapes."""
    arrays = {}
    for name, values in weights.items():
        order = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}[values.ndim]
        arrays[name] = np.ascontiguousarray(values.transpose(order))
    (folder / "weights.json").write_text(json.dumps([{"name": n, "shape": list(v.shape)} for n, v in arrays.items()]))
    (folder / "weights.bin").write_bytes(b"".join(values.tobytes() for values in arrays.values()))


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    for name in ("rmnet", "onnx/onnx", "tfjs"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(18)
    tensors = state(rng)
    image = rng.normal(0, 1, (3, SIDE, SIDE)).astype(np.float32)
    weights = {name: values.astype(np.float32) for name, values in folded(tensors).items()}
    expected = Reference(tensors).logits(image.astype(np.float64))

    model = residual_onnx(weights).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    [[found]] = session.run(["logits"], {"pixel_values": image[None]})
    error = np.abs(found - expected).max() / np.abs(expected).max()
    print(f"ONNX Runtime {onnxruntime.__version__} on the CPU: off by {error:.1e} of the largest logit, {np.abs(expected).max():.3f}")
    if not error < 1e-5:
        sys.exit("the reference and ONNX Runtime differ")

    save_safetensors(folder / "rmnet" / "model.safetensors", tensors)
    # transformers.js reads the config, and the model from a folder `onnx` beside it.
    config = {"model_type": "resnet", "architectures": ["ResNetForImageClassification"]}
    (folder / "onnx" / "config.json").write_text(json.dumps(config))
    (folder / "onnx" / "onnx" / "model.onnx").write_bytes(model)
    save_tfjs(folder / "tfjs", weights)
    image.tofile(folder / "input.nchw.f32")
    np.ascontiguousarray(image.transpose(1, 2, 0)).tofile(folder / "input.nhwc.f32")
    expected.tofile(folder / "expected.f64")
    (folder / "done").write_text(hashlib.sha256(pathlib.Path(__file__).read_bytes()).hexdigest())


if __name__ == "__main__":
    main()

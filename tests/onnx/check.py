"""Runs every model of a folder in ONNX Runtime, and in OpenVINO where it is installed. Called by `tests/onnx.rs`.

`NAME.onnx` and `NAME.input` (raw f32 images) give `NAME.batch` (raw f32 outputs of all images at once), `NAME.single` (of one
image after the other) and perhaps `NAME.openvino`. onnx.checker judges each model first.
"""

import pathlib
import sys

import numpy as np
import onnx
import onnxruntime

try:
    import openvino
except ImportError:
    openvino = None

options = onnxruntime.SessionOptions()
options.log_severity_level = 3
models = sorted(pathlib.Path(sys.argv[1]).glob("*.onnx"))
for path in models:
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (given,), (made,) = session.get_inputs(), session.get_outputs()
    batch, *image = given.shape
    assert (given.name, batch, made.shape[0]) == ("input", "N", "N"), (path, given, made)
    assert made.name == ("features" if "features" in path.stem else "logits"), (path, made)
    images = np.fromfile(path.with_suffix(".input"), "<f4").reshape(-1, *image)

    def run(part):
        values = session.run(None, {"input": part})[0]
        assert list(values.shape[1:]) == made.shape[1:], (path, values.shape, made.shape)
        return values

    run(images).tofile(path.with_suffix(".batch"))
    np.concatenate([run(images[i : i + 1]) for i in range(len(images))]).tofile(path.with_suffix(".single"))
    if openvino:
        # Plain f32: the CPU plugin may choose BF16 otherwise.
        compiled = openvino.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        compiled(images)[made.name].tofile(path.with_suffix(".openvino"))
print(f"{len(models)} models: onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}")

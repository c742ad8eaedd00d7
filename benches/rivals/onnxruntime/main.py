"""ONNX Runtime, by the execution provider of the variant; the CPU takes over nothing."""

import os
import pathlib
import sys

import numpy as np
import onnxruntime as ort

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from protocol import serve

PROVIDERS = {
    "cpu": ("CPUExecutionProvider", {}),
    "webgpu": ("WebGpuExecutionProvider", {}),
    "cuda": ("CUDAExecutionProvider", {"use_tf32": "0"}),
}


def load(variant, folder, image):
    provider, settings = PROVIDERS[variant]
    options = ort.SessionOptions()
    options.intra_op_num_threads = int(os.environ["RIVALS_THREADS"])
    options.log_severity_level = 3
    if variant != "cpu":
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    # Without it, a provider that fails is quietly replaced by the CPU's.
    session = ort.InferenceSession(folder / "model.onnx", options, [provider], [settings], enable_fallback=0)
    if provider not in session.get_providers():
        sys.exit(f"ONNX Runtime has no {provider} here")
    return provider, lambda: session.run(None, {"input": image})[0]


serve(ort.__version__, load)

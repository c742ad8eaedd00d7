"""tract on the CPU, through its Python package; it has one thread."""

import pathlib
import sys

import tract

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from protocol import serve


def load(variant, folder, image):
    model = tract.onnx().load(folder / "model.onnx").into_model()
    runnable = tract.runtime_for_name("default").prepare(model)
    return "cpu", lambda: runnable.run([image])[0].to_numpy()


serve(tract.version(), load)

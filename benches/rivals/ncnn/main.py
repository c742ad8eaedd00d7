"""ncnn, on Vulkan and on the CPU, with every f16 form off."""

import importlib.metadata
import os
import pathlib
import sys

import ncnn
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from protocol import serve


def load(variant, folder, image):
    net = ncnn.Net()
    net.opt.num_threads = int(os.environ["RIVALS_THREADS"])
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.opt.use_bf16_storage = False
    device = "cpu"
    if variant == "vulkan":
        if ncnn.get_gpu_count() == 0:
            sys.exit("ncnn finds no Vulkan device")
        net.opt.use_vulkan_compute = True
        net.set_vulkan_device(ncnn.get_default_gpu_index())
        device = ncnn.get_gpu_info(ncnn.get_default_gpu_index()).device_name()
    for status in (net.load_param(str(folder / "model.ncnn.param")), net.load_model(str(folder / "model.ncnn.bin"))):
        if status != 0:
            sys.exit("ncnn cannot load the model")

    def run():
        with net.create_extractor() as extractor:
            extractor.input("in0", ncnn.Mat(image[0]).clone())
            status, out = extractor.extract("out0")
            if status != 0:
                sys.exit(f"ncnn's extract returned {status}")
            return np.array(out)

    return device, run


serve(importlib.metadata.version("ncnn"), load)
# Vulkan objects are gone before the library's own at-exit handlers want them.
sys.stdout.flush()
os._exit(0)

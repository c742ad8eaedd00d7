"""PyTorch: torchvision's network in eager mode, on the CPU and on CUDA, there also as a CUDA graph and in f16."""

import os
import pathlib
import sys

import torch
import torchvision
from safetensors.torch import load_file

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from protocol import serve


def load(variant, folder, image):
    torch.set_num_threads(int(os.environ["RIVALS_THREADS"]))
    torch.set_grad_enabled(False)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    net = getattr(torchvision.models, folder.name)(weights=None).eval()
    missing, unexpected = net.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
    assert not unexpected and all("num_batches_tracked" in key for key in missing), (missing, unexpected)
    host = torch.from_numpy(image)
    if variant == "cpu":
        return "cpu", lambda: net(host).numpy()

    if not torch.cuda.is_available():
        sys.exit("torch.cuda.is_available() is false")
    dtype = torch.float16 if variant.endswith("f16") else torch.float32
    net = net.to("cuda", dtype)
    if dtype is torch.float16:
        net = net.to(memory_format=torch.channels_last)
    device = torch.cuda.get_device_name()
    if not variant.startswith("graph"):
        return device, lambda: net(host.to("cuda", dtype)).float().cpu().numpy()

    # As PyTorch's own notes have it: warm up on a side stream, then capture.
    fixed = host.to("cuda", dtype)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            net(fixed)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = net(fixed)

    def run():
        fixed.copy_(host)
        graph.replay()
        return out.float().cpu().numpy()

    return device, run


serve(torch.__version__, load)

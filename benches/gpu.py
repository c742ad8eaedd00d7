"""rmnet on a real GPU beside PyTorch CUDA, in one run: needs a built rmnet, torch and torchvision, and no network.

    python3 benches/gpu.py RMNET [NETWORK..] [--batches 1 64] [--rounds 3] [--seconds 1] [--profile FILE] [-o FILE.md]

NETWORK is a torchvision ResNet, seeded as in rivals/seeded.py; resnet18 and resnet50 unless named. Every rmnet answer is compared
with PyTorch's in f64 first. Then rounds in turn: one rmnet process per precision, and PyTorch in this process, eager and as a CUDA
graph, f32 with TF32 off and f16 channels-last. End to end is host tensor to host logits; GPU time is rmnet's timestamps and CUDA's
events around the network alone, input and output on the card. Figures are medians of the rounds' medians.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent / "rivals"))
try:
    import torch
    from safetensors.torch import load_file, save_file
    from seeded import network
except ImportError as e:
    sys.exit(f"gpu.py: {e}; it needs a Python with torch, torchvision and safetensors")


def rmnet(binary: str, *words) -> dict:
    # Untuned, whatever is kept.
    done = subprocess.run([binary, *map(str, words), "--json", "--tuning", "none"], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"rmnet {' '.join(map(str, words))}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return json.loads(done.stdout)


# Largest error that is taken for rounding: of f32, and of weights and values stored in f16.
LIMITS = {"f32": 1e-5, "f16": 1e-2}


def check(binary: str, model: pathlib.Path, net: torch.nn.Module, precision: str, batch: int) -> float:
    """rmnet's logits of a whole batch against PyTorch's in f64: the largest difference over the largest logit."""
    image = torch.rand(batch, 3, 224, 224)
    extra = ["--precision", precision]
    folder = model.parent
    save_file({"input": image}, folder / "input.safetensors")
    rmnet(binary, "run", model, folder / "input.safetensors", "--batch", batch, "--logits", folder / "out.safetensors", *extra)
    net.double()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    net.to(device)
    expected = torch.cat([net(part.to(device).double()).cpu() for part in image.split(8)])
    net.float().cpu()
    found = load_file(folder / "out.safetensors")["logits"].double().reshape(expected.shape)
    error = float((found - expected).abs().max() / expected.abs().max())
    if not error <= LIMITS[precision]:
        raise SystemExit(f"{model}, {precision}, batch {batch}: off by {error:.1e} of the largest logit")
    return error


class Cuda:
    """PyTorch on CUDA, one network in one precision, for one batch."""

    def __init__(self, net: torch.nn.Module, batch: int, half: bool):
        self.dtype = torch.float16 if half else torch.float32
        self.host = torch.rand(batch, 3, 224, 224).pin_memory()
        self.net = net.to("cuda", self.dtype)
        self.fixed = self.host.to("cuda", self.dtype)
        if half:
            self.net = self.net.to(memory_format=torch.channels_last)
            self.fixed = self.fixed.to(memory_format=torch.channels_last)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(5):
                self.net(self.fixed)
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.out = self.net(self.fixed)

    def eager(self):
        # Converted on the card: a copy that converts would do it on the host.
        x = self.host.to("cuda", non_blocking=True).to(self.dtype)
        if self.dtype is torch.float16:
            x = x.to(memory_format=torch.channels_last)
        return self.net(x).float().cpu()

    def replay(self):
        self.fixed.copy_(self.host.to("cuda", non_blocking=True))
        self.graph.replay()
        return self.out.float().cpu()

    def wall(self, run, seconds: float) -> float:
        for _ in range(3):
            run()
        times, start = [], time.perf_counter()
        while time.perf_counter() - start < seconds or len(times) < 5:
            before = time.perf_counter()
            run()
            times.append(time.perf_counter() - before)
        return statistics.median(times) * 1e3

    def events(self, run, seconds: float) -> float:
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        times, start = [], time.perf_counter()
        while time.perf_counter() - start < seconds or len(times) < 5:
            begin.record()
            run()
            end.record()
            end.synchronize()
            times.append(begin.elapsed_time(end))
        return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rmnet", help="the built program")
    parser.add_argument("networks", nargs="*", default=["resnet18", "resnet50"], metavar="NETWORK", help="a torchvision ResNet")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 64], help="default: 1 64")
    parser.add_argument("--precisions", nargs="+", default=["f32", "f16"], choices=["f32", "f16"], help="default: both")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each, in turn; default: 3")
    parser.add_argument("--seconds", type=float, default=1, help="of timed runs in a process; default: 1")
    parser.add_argument("--profile", type=pathlib.Path, help="also write rmnet's time of every dispatch, as JSON")
    parser.add_argument("--models", type=pathlib.Path, help="folder to leave the checkpoints in")
    parser.add_argument("--no-torch", action="store_true", help="rmnet alone")
    parser.add_argument("-o", "--output", type=pathlib.Path, help="a Markdown file of the tables")
    args = parser.parse_args()
    torch.set_grad_enabled(False)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    with_cuda = torch.cuda.is_available() and not args.no_torch
    lines, profiles = [], {}
    scratch = tempfile.TemporaryDirectory()
    for name in args.networks:
        model = (args.models or pathlib.Path(scratch.name)) / name / "model.safetensors"
        model.parent.mkdir(parents=True, exist_ok=True)
        net = network(name)
        save_file({k: v for k, v in net.state_dict().items() if "num_batches" not in k}, model)
        for batch in args.batches:
            off = {p: check(args.rmnet, model, net, p, batch) for p in args.precisions}
            rows: dict[str, dict[str, list]] = {}

            def note(who: str, **figures):
                for key, value in figures.items():
                    rows.setdefault(who, {}).setdefault(key, []).append(value)

            for _ in range(args.rounds):
                for precision in args.precisions:
                    report = rmnet(args.rmnet, "bench", model, "--batch", batch, "--precision", precision, "--seconds", args.seconds)
                    macs, device = report["macs"], f"{report['device']}, {report['driver']}"
                    warm = report["warm"]
                    note(f"rmnet {precision}", wall=warm["end_to_end"]["p50_ns"] / 1e6, p90=warm["end_to_end"]["p90_ns"] / 1e6,
                         gpu=warm["gpu"]["p50_ns"] / 1e6 if warm.get("gpu") else float("nan"), first=report["cold"]["total_ns"] / 1e6)
                if with_cuda:
                    for half in (False, True):
                        cuda = Cuda(network(name), batch, half)
                        kind = "f16" if half else "f32"
                        note(f"PyTorch {torch.__version__} eager {kind}", wall=cuda.wall(cuda.eager, args.seconds),
                             gpu=cuda.events(lambda: cuda.net(cuda.fixed), args.seconds))
                        note(f"PyTorch {torch.__version__} graph {kind}", wall=cuda.wall(cuda.replay, args.seconds),
                             gpu=cuda.events(cuda.graph.replay, args.seconds))
                        del cuda
            lines += ["", f"## {name}, batch {batch}", "", "| | end to end, ms | p90 | GPU, ms | GPU, TFLOP/s | error |", "|---|---|---|---|---|---|"]
            for who, figures in rows.items():
                mid = {key: statistics.median(values) for key, values in figures.items()}
                rate = 2 * macs / (mid["gpu"] * 1e-3) / 1e12
                p90 = f"{mid['p90']:.3f}" if "p90" in mid else ""
                error = f"{off[who.split()[-1]]:.1e}" if who.startswith("rmnet") else ""
                lines.append(f"| {who} | {mid['wall']:.3f} | {p90} | {mid['gpu']:.3f} | {rate:.1f} | {error} |")
            lines.append("")
            lines.append("File to first logits, this driver's shader cache warm: " + ", ".join(
                f"{who} {statistics.median(f['first']):.0f} ms" for who, f in rows.items() if "first" in f))
            print("\n".join(lines[-len(rows) - 7:]), flush=True)
            if args.profile:
                for precision in args.precisions:
                    profiles[f"{name} {batch} {precision}"] = rmnet(
                        args.rmnet, "profile", model, "--batch", batch, "--precision", precision)
                args.profile.write_text(json.dumps(profiles))
    head = [f"# {device}", "", f"`python3 {' '.join(sys.argv)}`; {os.cpu_count()} cores. TFLOP/s count the multiplies of direct convolution."]
    if args.output:
        args.output.write_text("\n".join(head + lines) + "\n")


if __name__ == "__main__":
    main()

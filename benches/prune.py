"""Accuracy, multiplies, memory and time of the bundled digits model against the share of channels that is pruned: the
residual-free chain beside the coupled residual net, by every criterion, without retraining; with --finetune EPOCHS also after
so much training of what is left (benches/finetune.py; needs torch, torchvision).

    python -m venv venv && venv/bin/pip install numpy scikit-learn pillow safetensors matplotlib
    cargo build --release && cargo bench --bench pruned --no-run
    venv/bin/python benches/prune.py [--ratios 0 0.1 ..] [--multiple 4] [--finetune 4] [--write]

Accuracy is that of the 360 test images that training never saw (the split of assets/digits/train.py); the `mean` criterion is
calibrated on 100 training images. Times are medians on the CPU executor, 32 images a run, all networks of a table in turn.
With --write the table and the plot go to benches/results/.

    venv/bin/python benches/prune.py --full MODEL.safetensors [--adapter NAME]

times that model (any, such as a ResNet-18) pruned by 0.3 and 0.5 beside the whole one.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile

import numpy as np
from PIL import Image
from safetensors.numpy import load_file, save_file
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

ROOT = pathlib.Path(__file__).resolve().parents[1]
RMNET = ROOT / "target" / "release" / "rmnet"
RESULTS = ROOT / "benches" / "results"
MODEL = ROOT / "assets" / "digits"
CRITERIA = ["bn", "l1", "mean"]
TIES = {"RM chain": [], "coupled": ["--coupled"]}
CALIBRATION_IMAGES = 100


def rmnet(*args):
    """Runs a verb; gives its JSON, or None where it refused with a usage error (a ratio out of reach)."""
    done = subprocess.run([RMNET, *map(str, args), "--json"], capture_output=True, text=True)
    if done.returncode not in (0, 2):
        raise SystemExit(done.stderr)
    return json.loads(done.stdout) if done.returncode == 0 else None


def digits(folder):
    """The test and the calibration images as the model reads them, and the test labels."""
    data = load_digits()
    config = json.loads((MODEL / "config.json").read_text())["pretrained_cfg"]
    size = config["input_size"][1]
    everything = np.arange(len(data.images))
    training, test = train_test_split(everything, test_size=0.2, random_state=0, stratify=data.target)

    def write(name, indices):
        images = []
        for i in indices:
            gray = Image.fromarray(np.round(data.images[i] * 255 / 16).astype(np.uint8))
            rgb = np.asarray(gray.resize((size, size), Image.Resampling.BILINEAR).convert("RGB"), np.float32)
            images.append(((rgb / 255 - config["mean"][0]) / config["std"][0]).transpose(2, 0, 1))
        save_file({"input": np.ascontiguousarray(images, dtype=np.float32)}, folder / name)
        return folder / name

    calibration = np.random.default_rng(0).choice(training, CALIBRATION_IMAGES, replace=False)
    return write("test.safetensors", test), write("calibration.safetensors", calibration), data.target[test]


def accuracy(model, test, labels, folder):
    logits = folder / "logits.safetensors"
    rmnet("run", model, test, "--adapter", "cpu", "--batch", 60, "--logits", logits)
    return float((load_file(logits)["logits"].argmax(1) == labels).mean())


def times(models, *more):
    command = ["cargo", "bench", "-q", "--bench", "pruned", "--", *map(str, models), *more]
    out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in out.splitlines() if line.startswith("{")]


def table(rows):
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def bundled(args, folder):
    test, calibration, labels = digits(folder)
    found = {}
    for criterion in CRITERIA:
        for tie, option in TIES.items():
            for ratio in args.ratios:
                out = folder / f"{criterion}_{tie[:2]}_{ratio}.safetensors"
                more = ["--calibration", calibration] if criterion == "mean" else []
                report = rmnet("prune", MODEL, "-o", out, "--ratio", ratio, "--multiple", args.multiple,
                               "--criterion", criterion, *option, *more)
                if report:
                    found[criterion, tie, ratio] = (out, report, accuracy(out, test, labels, folder))
    tuned = {}
    if args.finetune:
        from finetune import finetune, training_set

        data = training_set()
        for key in [k for k in found if k[0] == "bn"]:
            out = folder / "tuned.safetensors"
            finetune(found[key][0], out, *data, args.finetune)
            tuned[key[1:]] = accuracy(out, test, labels, folder)
    # The shapes of a ratio are the same for all criteria, so one of them is timed.
    timed = [key for key in found if key[0] == "bn"]
    times_of = times([found[k][0] for k in timed], "--adapter", "cpu", "--batch", "32", "--runs", str(args.runs))
    milliseconds = {key[1:]: t["median_ms"] for key, t in zip(timed, times_of)}

    rows = [["ratio", "net", "channels removed", "MMAC", "activations", "ms / 32 images", *CRITERIA]]
    rows[0] += ["bn, tuned"] if tuned else []
    for ratio in args.ratios:
        for tie in TIES:
            if ("bn", tie, ratio) not in found:
                continue
            _, report, _ = found["bn", tie, ratio]
            scores = [found.get((c, tie, ratio)) for c in CRITERIA]
            rows.append([
                f"{ratio:.2f}", tie, f"{report['removed']} of {report['channels']}",
                f"{report['macs']['after'] / 1e6:.1f}", f"{report['activation_bytes']['after'] / 1024:.0f} KiB",
                f"{milliseconds[tie, ratio]:.2f}", *(f"{100 * s[2]:.1f} %" if s else "" for s in scores),
                *([f"{100 * tuned[tie, ratio]:.1f} %"] if tuned else []),
            ])
    text = table(rows)
    print(text)
    if args.write:
        (RESULTS / "pruning.md").write_text(HEAD.format(multiple=args.multiple, epochs=args.finetune) + text + "\n")
        plot(found, milliseconds, tuned, args)


HEAD = """Bundled digits model, pruned (`python benches/prune.py --finetune {epochs} --write`), channels kept in multiples of {multiple}.
Columns `bn`, `l1`, `mean`: accuracy on the 360 test images by that criterion, without retraining; `bn, tuned`: after {epochs} epochs
of training of what is left. Times are medians on a 2-core virtual machine, CPU executor.

"""


def plot(found, milliseconds, tuned, args):
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "rmnet"
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for criterion, colour in zip(CRITERIA, ["tab:blue", "tab:orange", "tab:green"]):
        for tie, style in zip(TIES, ["-", ":"]):
            keys = [(criterion, tie, r) for r in args.ratios if (criterion, tie, r) in found]
            share = [found[k][1]["removed"] / found[k][1]["channels"] for k in keys]
            left.plot(share, [100 * found[k][2] for k in keys], style, color=colour, marker=".",
                      label=f"{criterion}, {tie}")
    for tie, style in zip(TIES, ["-", ":"]):
        keys = [("bn", tie, r) for r in args.ratios if (tie, r) in tuned]
        share = [found[k][1]["removed"] / found[k][1]["channels"] for k in keys]
        if keys:
            left.plot(share, [100 * tuned[k[1:]] for k in keys], style, color="black", marker=".",
                      label=f"bn, {tie}, tuned {args.finetune} epochs")
    left.set(xlabel="share of channels removed", ylabel="test accuracy, %")
    left.legend(fontsize=7)
    for tie, style in zip(TIES, ["-", ":"]):
        keys = [("bn", tie, r) for r in args.ratios if ("bn", tie, r) in found]
        share = [found[k][1]["removed"] / found[k][1]["channels"] for k in keys]

        def of_whole(values):
            return [100 * v / values[0] for v in values]

        right.plot(share, of_whole([milliseconds[k[1:]] for k in keys]), style, color="tab:red", marker=".",
                   label=f"time, {tie}")
        right.plot(share, of_whole([found[k][1]["macs"]["after"] for k in keys]), style, color="tab:gray",
                   label=f"multiplies, {tie}")
        right.plot(share, of_whole([found[k][1]["activation_bytes"]["after"] for k in keys]), style,
                   color="tab:purple", label=f"activations, {tie}")
    right.set(xlabel="share of channels removed", ylabel="% of the whole net")
    right.legend(fontsize=7)
    figure.savefig(RESULTS / "pruning.svg", metadata={"Date": None})


def full(args, folder):
    rows = [["net", "MMAC", "activations", "weights", "dispatches", "median ms", "min ms"]]
    models, names = [args.full], ["whole"]
    for tie, option in TIES.items():
        for ratio in [0.3, 0.5]:
            out = folder / f"{tie[:2]}_{ratio}.safetensors"
            rmnet("prune", args.full, "-o", out, "--ratio", ratio, *option)
            models.append(out)
            names.append(f"{tie}, {ratio}")
    found = times(models, "--adapter", args.adapter, "--runs", str(args.runs))
    for name, t in zip(names, found):
        rows.append([name, f"{t['macs'] / 1e6:.0f}", f"{t['activation_bytes'] / 2**20:.2f} MiB",
                     f"{t['weight_bytes'] / 2**20:.1f} MiB", str(t["dispatches"]), f"{t['median_ms']:.1f}",
                     f"{t['min_ms']:.1f}"])
    print(found[0]["device"])
    print(table(rows))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ratios", type=float, nargs="+", default=[0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    parser.add_argument("--multiple", type=int, default=4)
    parser.add_argument("--finetune", type=int, default=0, metavar="EPOCHS")
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--full", type=pathlib.Path)
    parser.add_argument("--adapter", default="cpu")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        (full if args.full else bundled)(args, pathlib.Path(folder))


if __name__ == "__main__":
    main()

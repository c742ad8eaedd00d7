"""The tables, in Markdown, and a chart of each network, in SVG."""

import json
import math
import pathlib
import statistics
from html import escape

HEAD = "| | median | p90 | to rmnet | peak memory | first result | without imports | error | version |\n" + "|---" * 9 + "|\n"
NOTES = """\
*Median*, *p90*: host tensor to host logits, warm, all runs of all rounds together. *To rmnet*: the median over that of rmnet on the same
kind of device, GPU or CPU. *Peak memory*: resident, of the whole process, the larger of the cold and the warm one; Python's and its
libraries' share counts. *First result*: from the start of the process, no shader cache; *without imports* starts when the contender
has loaded its libraries and read no file yet. *Error*: largest difference from PyTorch's f64 logits over the largest logit.
"""


def write(output: pathlib.Path, about: dict, results: dict, absent: dict) -> list[pathlib.Path]:
    """Writes the report with its charts and figures beside it; returns their paths."""
    output.parent.mkdir(parents=True, exist_ok=True)
    written = [output, output.with_suffix(".json")]
    text = [
        "f32, batch 1, 224x224, host tensor to host logits, the same weights and input for all, every answer checked.\n",
        f"* {about['machine']}; load average {about['load'][0]} at the start, {about['load'][1]} at the end",
        f"* {about['device']}",
        f"* {about['date']}, {about['rounds']} rounds of at most {about['runs']} runs or {about['seconds']:g} s each, interleaved",
        f"* `{about['command']}`\n",
        NOTES,
    ]
    for name, result in results.items():
        chart = output.with_name(f"{output.stem}-{name}.svg")
        chart.write_text(svg(f"{name}: median, logarithmic axis", about["device"], result["rows"]))
        written.append(chart)
        text += [f"## {name}\n", table(result["rows"])]
        text += [f"* {line}" for line in result["failures"].values()]
        text.append(f"\n![{name}]({chart.name})\n")
    if absent:
        text += ["## Not here\n", *(f"* {line}" for line in absent.values())]
    output.write_text("\n".join(text).rstrip() + "\n")
    written[1].write_text(json.dumps(about | {"networks": results, "absent": absent}, indent=1) + "\n")
    return written


def median(row: dict) -> float:
    return statistics.median(row["ns"])


def rank90(ns: list[int]) -> int:
    """The nearest rank, as `rmnet bench` has it."""
    return sorted(ns)[math.ceil(0.9 * len(ns)) - 1]


def ms(ns: float) -> str:
    value = ns / 1e6
    return f"{value:.0f} ms" if value >= 100 else f"{value:.1f} ms" if value >= 10 else f"{value:.2f} ms"


def table(rows: dict) -> str:
    text = HEAD
    for kind in (True, False):
        ours = rows.get("rmnet-gpu" if kind else "rmnet-cpu")
        for row in sorted((r for r in rows.values() if r["gpu"] is kind), key=median):
            ratio = f"{median(row) / median(ours):.2f}" if ours else ""
            text += (
                f"| {row['name']} | {ms(median(row))} | {ms(rank90(row['ns']))} | {ratio} | {row['peak'] / 2**20:.0f} MiB "
                f"| {row['first_ns'] / 1e9:.2f} s | {(row['first_ns'] - row['ready_ns']) / 1e9:.2f} s | {row['error']:.1e} "
                f"| {row['version']} |\n"
            )
    return text


def svg(title: str, device: str, rows: dict) -> str:
    """Bars of the medians on a logarithmic axis, shortest first: GPU contenders, then CPU ones."""
    bars = [sorted((r for r in rows.values() if r["gpu"] is kind), key=median) for kind in (True, False)]
    medians = [median(r) / 1e6 for group in bars for r in group]
    low, high = 10 ** math.floor(math.log10(min(medians) / 1.5)), max(medians) * 1.6
    left, width, step = 190, 520, 24

    def x(value: float) -> float:
        return left + width * math.log(value / low) / math.log(high / low)

    body, y = [], 84
    for heading, group in zip(("on the GPU", "on the CPU"), bars):
        if not group:
            continue
        body.append(f'<text x="{left - 8}" y="{y + 11}" text-anchor="end" class="head">{heading}</text>')
        y += step - 4
        for row in group:
            value, name = median(row) / 1e6, row["name"].replace("*", "")
            ours = "ours" if name.startswith("rmnet") else "other"
            body.append(f'<text x="{left - 8}" y="{y + 12}" text-anchor="end">{escape(name)}</text>')
            body.append(f'<rect x="{left}" y="{y}" width="{x(value) - left:.1f}" height="16" class="{ours}"/>')
            body.append(f'<text x="{x(value) + 6:.1f}" y="{y + 12}">{ms(value * 1e6)}</text>')
            y += step
        y += 8
    grid = []
    for power in range(round(math.log10(low)), math.floor(math.log10(high)) + 1):
        at = x(10**power)
        grid.append(f'<path d="M{at:.1f} 68V{y}" class="grid"/><text x="{at:.1f}" y="62" text-anchor="middle">{10**power:g} ms</text>')
    style = (
        "text{font:12px sans-serif;fill:#333}.title{font-weight:bold;font-size:13px}.head{font-style:italic}"
        ".ours{fill:#c2571a}.other{fill:#8fa6b8}.grid{stroke:#ddd}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="800" height="{y + 12}" viewBox="0 0 800 {y + 12}">\n'
        f'<style>{style}</style>\n<rect width="800" height="{y + 12}" fill="#fff"/>\n'
        f'<text x="8" y="20" class="title">{escape(title)}</text><text x="8" y="38">{escape(device)}</text>\n'
        + "\n".join(grid + body)
        + "\n</svg>\n"
    )

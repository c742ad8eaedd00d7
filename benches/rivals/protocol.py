"""A contender's side of the protocol; `protocol.rs` is the same in Rust.

A contender is a process: `COMMAND VARIANT FOLDER LOGITS RUNS SECONDS`. FOLDER is what `networks.py` wrote. It loads, runs once, writes
its logits as plain f32 to LOGITS, runs once more unless RUNS is 0, and then times up to RUNS runs, host tensor to host logits, fewer
where they take longer than SECONDS together. It prints JSON lines, which the runner timestamps as they arrive:

    {"event": "ready", "version": ..}   libraries are loaded, no file has been read
    {"event": "first", "device": ..}    the first logits are there
    {"event": "done", "ns": [..]}       every timed run

What goes wrong is its last line on stderr and a non-zero exit code. Peak memory is measured from outside.
"""

import json
import pathlib
import sys
import time
from collections.abc import Callable

import numpy as np

Run = Callable[[], np.ndarray]


def serve(version: str, load: Callable[[str, pathlib.Path, np.ndarray], tuple[str, Run]]) -> None:
    """Speaks the protocol. `load` takes the variant, the folder and the input, and returns the device's name and one run."""
    variant, folder, logits, runs, seconds = sys.argv[1:]
    say(event="ready", version=version)
    image = np.fromfile(pathlib.Path(folder) / "input.f32", np.float32).reshape(1, 3, 224, 224)
    device, run = load(variant, pathlib.Path(folder), image)
    first = np.asarray(run(), np.float32).copy()
    say(event="first", device=device)
    first.tofile(logits)
    if int(runs) > 0:
        run()
    times, start = [], time.perf_counter()
    while len(times) < int(runs) and (not times or time.perf_counter() - start < float(seconds)):
        before = time.perf_counter_ns()
        run()
        times.append(time.perf_counter_ns() - before)
    say(event="done", ns=times)


def say(**fields) -> None:
    print(json.dumps(fields), flush=True)

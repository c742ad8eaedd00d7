"""Who takes part: a folder with a `rival.toml` each, and rmnet itself. Sets each up under target/rivals, and runs one process of it.

A folder has either a `main.py` with its `requirements.txt` (an environment of its own), or a Cargo project. Both speak the protocol
that `protocol.py` describes. rmnet takes part as what it is, the command line program.
"""

import array
import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import time
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TARGET = ROOT / "target" / "rivals"
NICE_ENV = {"CARGO_TERM_COLOR": "never", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


class Failure(Exception):
    """Why a contender is not in the table, in one line."""


@dataclasses.dataclass
class Sample:
    """One process: times in nanoseconds from its start, sizes in bytes."""

    version: str
    device: str
    ready: int  # libraries loaded; for a plain program its start
    first: int
    runs: list[int]
    peak: int
    logits: array.array


@dataclasses.dataclass
class Contender:
    id: str
    name: str
    argument: str
    folder: pathlib.Path
    main: str | None = None
    gpu: bool = False
    nvidia: bool = False
    tolerance: float = 1e-4  # of the largest logit

    def set_up(self) -> None:
        if self.main is None:
            self.command = [cargo(self.folder / "Cargo.toml", TARGET / "cargo" / self.folder.name, f"rival-{self.folder.name}")]
        else:
            self.command = [environment(self.folder), str(self.folder / self.main)]

    def sample(self, network: pathlib.Path, runs: int, seconds: float, env: dict, limit: float) -> Sample:
        """One process; with no runs it ends at its first logits."""
        out = network / f"{self.id}.f32"
        events, peak, _ = process([*self.command, self.argument, network, out, runs, seconds], env, limit)
        try:
            ready, first, done = (events[name] for name in ("ready", "first", "done"))
        except KeyError as e:
            raise Failure(f"ended well, but never said {e}") from None
        return Sample(ready["version"], first["device"], ready["at"], first["at"], done["ns"], peak, floats(out, "f"))


class Rmnet(Contender):
    """The program; RMNET names one that is built already. `run` gives the first logits, to a file, and so their time to the end of
    the process; `bench` gives warm times."""

    def set_up(self) -> None:
        target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
        self.command = [os.environ.get("RMNET") or cargo(ROOT / "Cargo.toml", target, "rmnet")]

    def sample(self, network: pathlib.Path, runs: int, seconds: float, env: dict, limit: float) -> Sample:
        rmnet, model = self.command[0], network / "model.safetensors"
        out, device = network / f"{self.id}.safetensors", ["--adapter", self.argument]
        _, peak, first = process([rmnet, "run", model, network / "input.safetensors", "--logits", out, *device], env, limit)
        version = subprocess.run([rmnet, "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]
        logits, times, name = tensor(out), [], ""
        if runs > 0:
            report = network / f"{self.id}.json"
            command = [rmnet, "bench", model, "--json", "--runs", runs, "--seconds", 0, *device]
            process(command, env, limit, report)
            report = json.loads(report.read_text())
            # Its own word on memory: when it has timed its runs it goes on to measure the device, with large buffers.
            times, peak = report["warm"]["runs_ns"], max(peak, report["memory"]["process_bytes"])
            name = ", ".join(filter(None, [report["device"], report["driver"]]))
        return Sample(version, name, 0, first, times, peak, logits)


def contenders(adapter: str) -> list[Contender]:
    found = [
        Rmnet("rmnet-gpu", "**rmnet**, GPU", adapter, ROOT, gpu=True),
        Rmnet("rmnet-cpu", "**rmnet**, CPU executor", "cpu", ROOT),
    ]
    for toml in sorted(HERE.glob("*/rival.toml")):
        about = tomllib.loads(toml.read_text())
        main = about.get("main", "main.py")
        main = main if (toml.parent / main).exists() else None
        found += [Contender(folder=toml.parent, main=main, **variant) for variant in about["variant"]]
    return found


def environment(folder: pathlib.Path) -> str:
    """The Python of a folder's environment, made again where its requirements are others. RMNET_TORCH_PYTHON names a Python that has
    torch and torchvision already, of the versions asked for: 5 GB less to download. RIVALS_PYTHON names one that has everything, for a
    machine without a network; its versions are in the table."""
    if given := os.environ.get("RIVALS_PYTHON"):
        return given
    venv, wanted = TARGET / "venv" / folder.name, (folder / "requirements.txt").read_text()
    python, installed = venv / "bin" / "python", venv / "installed.txt"
    if installed.exists() and installed.read_text() == wanted:
        return str(python)
    print(f"setting up {venv.relative_to(ROOT)}", file=sys.stderr)
    shutil.rmtree(venv, ignore_errors=True)
    torch = os.environ.get("RMNET_TORCH_PYTHON") if "torch==" in wanted else None
    step([torch or sys.executable, "-m", "venv", venv])
    if torch:
        find = "import pathlib, torch; print(pathlib.Path(torch.__file__).parents[1])"
        packages = subprocess.run([torch, "-c", find], capture_output=True, text=True, check=True).stdout
        site = subprocess.run([python, "-c", "import site; print(site.getsitepackages()[0])"], capture_output=True, text=True)
        (pathlib.Path(site.stdout.strip()) / "torch.pth").write_text(packages)
    step([python, "-m", "pip", "install", "-q", "--only-binary", ":all:", "-r", folder / "requirements.txt"])
    installed.write_text(wanted)
    return str(python)


def cargo(manifest: pathlib.Path, target: pathlib.Path, binary: str) -> str:
    step(["cargo", "build", "--release", "--locked", "-q", "--manifest-path", manifest], CARGO_TARGET_DIR=str(target))
    return str(target / "release" / binary)


def step(command: list, **env: str) -> None:
    """A step of setting up; fails with the last line that tells why."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=os.environ | NICE_ENV | env)
    if done.returncode != 0:
        raise Failure(f"`{pathlib.Path(str(command[0])).name} {command[1]}`: {reason(done.stderr)}")


def reason(stderr: str) -> str:
    """The line of an error output that says what is wrong: a compiler's or pip's first error, or else the last line."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    # Some drivers write an error of no consequence about XDG_RUNTIME_DIR.
    errors = [line for line in lines if line.lower().startswith("error") and "XDG_RUNTIME_DIR" not in line]
    # The end of a long line says more than its beginning.
    return (errors[0][:200] if errors else lines[-1][-200:]) if lines else "no word on why"


def process(command: list, env: dict, limit: float, output: pathlib.Path | None = None) -> tuple[dict, int, int]:
    """Runs a process: its events by name, each with the time `at` which it came; its peak resident size; its whole time."""
    log = TARGET / "stderr.txt"
    with open(log, "w") as stderr:
        start = time.perf_counter_ns()
        child = subprocess.Popen(list(map(str, command)), env=env, stdout=subprocess.PIPE, stderr=stderr, text=True)
        late = threading.Timer(limit, child.kill)
        late.start()
        events, text = {}, []
        for line in child.stdout:
            at = time.perf_counter_ns() - start
            text.append(line)
            try:
                event = json.loads(line)
                events[event["event"]] = event | {"at": at}
            except (ValueError, KeyError, TypeError):
                pass  # a library's own chatter
        # Not `child.wait`: only wait4 tells the peak of this one child.
        _, status, usage = os.wait4(child.pid, 0)
        whole = time.perf_counter_ns() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        expired = not late.is_alive()
        late.cancel()
    if child.returncode != 0:
        raise Failure(f"no result within {limit:.0f} s" if expired else f"exit code {child.returncode}: {reason(log.read_text())}")
    if output:
        output.write_text("".join(text))
    return events, usage.ru_maxrss << 10, whole


def floats(path: pathlib.Path, kind: str) -> array.array:
    values = array.array(kind)
    values.frombytes(path.read_bytes())
    return values


def tensor(path: pathlib.Path) -> array.array:
    """The f32 tensor `logits` of a safetensors file."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    begin, end = json.loads(data[8 : 8 + size])["logits"]["data_offsets"]
    values = array.array("f")
    values.frombytes(data[8 + size + begin : 8 + size + end])
    return values

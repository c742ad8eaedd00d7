"""Ray: the GPUs of an actor as devices, and a data set that survives the death of an actor."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rmnet
import rmnet.ray
from conftest import DIGITS, IMAGES, ran

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "ray_map_batches.py"
LISTING = """\
0, GPU-8a6c9d4e-0f6b-4a1c-8f8d-0d3f6a1b2c3d, 00000000:17:00.0
1, GPU-11112222-3333-4444-5555-666677778888, 00000000:CA:00.0
2, GPU-99990000-3333-4444-5555-666677778888, 00010000:00:1E.0
"""


def test_addresses_of_nvidia_smi_are_devices() -> None:
    devices = rmnet.ray.pci_devices(LISTING)
    assert devices["0"] == "pci:0000:17:00.0" == devices["GPU-8a6c9d4e-0f6b-4a1c-8f8d-0d3f6a1b2c3d"]
    assert devices["1"] == "pci:0000:ca:00.0" and devices["2"] == "pci:10000:00:1e.0" and len(devices) == 6
    assert rmnet.ray.pci_devices("") == {}
    with pytest.raises(rmnet.DeviceError, match="expected `index, uuid, address`"):
        rmnet.ray.pci_devices("No devices were found")
    # A device that is not there is an error, not another device.
    with pytest.raises(rmnet.DeviceError, match="fe:00.0"):
        rmnet.Session(DIGITS, "pci:0000:fe:00.0")


def test_the_device_of_an_actor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ray = pytest.importorskip("ray", reason="ray is not installed")
    smi = tmp_path / "nvidia-smi"
    smi.write_text(f"#!/bin/sh\ncat <<'E'\n{LISTING}E\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for gpus, device in (([1], "pci:0000:ca:00.0"), (["2"], "pci:10000:00:1e.0")):
        monkeypatch.setattr(ray, "get_gpu_ids", lambda gpus=gpus: gpus)
        assert rmnet.ray.device() == device
    monkeypatch.setattr(ray, "get_gpu_ids", lambda: [])
    with pytest.warns(UserWarning, match="no GPU, though nvidia-smi finds 3: it runs on the CPU") as warned:
        assert rmnet.ray.device() == "cpu"
    assert warned[0].filename == __file__
    for gpus, text in (([0, 1], "one GPU, found 2"), ([5], "Ray gave GPU 5")):
        monkeypatch.setattr(ray, "get_gpu_ids", lambda gpus=gpus: gpus)
        with pytest.raises(rmnet.DeviceError, match=text):
            rmnet.ray.device()
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setattr(ray, "get_gpu_ids", lambda: [])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert rmnet.ray.device() == "cpu"  # a machine without NVIDIA's driver
    monkeypatch.setattr(ray, "get_gpu_ids", lambda: [0])
    with pytest.raises(rmnet.DeviceError, match="cannot ask nvidia-smi"):
        rmnet.ray.device()


def example() -> Any:
    spec = importlib.util.spec_from_file_location("ray_map_batches", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_images_that_cannot_be_read_have_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="ray is not installed")
    monkeypatch.setattr(rmnet.ray, "device", lambda: "cpu")
    actor = example().Classifier(str(DIGITS), 4, threads=1)
    assert actor.session.device.startswith("cpu")
    files = [path.read_bytes() for path in IMAGES[:6]]
    files[1], files[4] = b"no image", files[4][:100]
    rows = actor({"bytes": np.array(files, object), "path": np.arange(6)})
    assert rows["path"].tolist() == list(range(6))
    for row, error in enumerate(["", "expected a PNG or JPEG image", "", "", "damaged or cut short", ""]):
        if error:
            assert error in rows["error"][row] and rows["class"][row] == -1 and rows["label"][row] == ""
            assert np.isnan(rows["probability"][row])
        else:
            assert rows["error"][row] == "" and rows["label"][row] == IMAGES[row].stem[-1]
    rows = actor({"bytes": [b"no image"], "path": ["a"]})
    assert rows["class"].tolist() == [-1] and "PNG or JPEG" in rows["error"][0]
    assert actor({"bytes": files[:1], "path": ["a"]})["error"].tolist() == [""]


@pytest.fixture
def cluster() -> Iterator[Any]:
    ray = pytest.importorskip("ray", reason="ray is not installed")
    pytest.importorskip("ray.data", reason="ray[data] is not installed")
    # Workers find what this process finds: the package, and the example.
    paths = os.pathsep.join([str(EXAMPLE.parent), *filter(None, sys.path)])
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=200 << 20,
        runtime_env={"env_vars": {"PYTHONPATH": paths}},
        log_to_driver=False,
    )
    yield ray
    ray.shutdown()


def test_an_actor_is_killed_and_every_row_comes_out_once(cluster: Any, tmp_path: Path) -> None:
    marker, started = str(tmp_path / "killed"), tmp_path / "started"
    started.mkdir()

    class Mortal:
        """The example's actor. The first of them to reach its second batch is killed in the middle of it, once two of
        them have started.
        """

        def __init__(self, model: str, batch: int, threads: int | None) -> None:
            import ray_map_batches

            self.actor = ray_map_batches.Classifier(model, batch, threads)
            self.calls = 0
            # Before any has been killed, so that one that is started again is told from one of the first two.
            (started / f"{os.getpid()} {os.path.exists(marker)}").touch()

        def __call__(self, rows: dict[str, Any]) -> dict[str, Any]:
            self.calls += 1
            found = self.actor(rows)
            if self.calls == 2:
                deadline = time.monotonic() + 60
                while len(list(started.iterdir())) < 2 and time.monotonic() < deadline:
                    time.sleep(0.05)
                try:
                    os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
                    os.kill(os.getpid(), signal.SIGKILL)
                except FileExistsError:
                    pass
            return {**found, "row": rows["row"], "process": [os.getpid()] * len(rows["row"])}

    data = cluster.data
    files = [{"row": row, "path": str(path), "bytes": path.read_bytes()} for row, path in enumerate(IMAGES * 8)]
    files.append({"row": len(files), "path": "bad", "bytes": b"no image"})
    rows = (
        example()
        .classify(data.from_items(files, override_num_blocks=16), str(DIGITS), actors=2, batch=7, actor=Mortal)
        .take_all()
    )
    assert sorted(row["row"] for row in rows) == list(range(len(files)))
    assert os.path.exists(marker), "no actor was killed"
    before = [path.name for path in started.iterdir() if path.name.endswith("False")]
    assert len(before) == 2, "expected two actors before one was killed"
    assert len({row["process"] for row in rows}) >= 2
    [bad] = [row for row in rows if row["error"]]
    assert bad["path"] == "bad" and bad["class"] == -1 and "PNG or JPEG" in bad["error"]
    rows.remove(bad)
    report: Any = ran("run", DIGITS, *IMAGES, "--adapter", "cpu")
    labels = {image["input"]: image["top"][0]["label"] for image in report["images"]}
    for row in rows:
        assert row["label"] == labels[row["path"]] == Path(row["path"]).stem[-1], row

"""What the tests share: the repository's fixtures, and the devices there are."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import rmnet
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parents[3]
FIXTURES = ROOT / "tests" / "fixtures"
DIGITS = ROOT / "assets" / "digits"
IMAGES = sorted((DIGITS / "images").iterdir())


def software_device() -> str | None:
    """A software Vulkan driver to test on, if there is one."""
    usable = [a for a in rmnet.adapters() if a.kind == "software" and a.backend == "vulkan" and a.problem is None]
    # llvmpipe before SwiftShader, which takes several times as long.
    usable.sort(key=lambda a: "llvmpipe" not in a.name)
    return usable[0].name if usable else None


def expected(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The input of a fixture, and the logits that its own library computed in float64."""
    tensors = load_file(folder / "expected.safetensors")
    return tensors["input"], tensors["logits"]


def relative(found: np.ndarray, wanted: np.ndarray) -> float:
    """The largest difference, relative to the largest value."""
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def program() -> Path:
    """The program of this repository."""
    path = Path(os.environ.get("RMNET_PROGRAM", ROOT / "target" / "debug" / "rmnet"))
    if not path.is_file():
        assert "CI" not in os.environ, f"expected the program at {path}"
        pytest.skip("the program is not built: cargo build, or RMNET_PROGRAM")
    return path


def ran(*args: object) -> object:
    """What the program prints with `--json`."""
    command = [str(program()), *map(str, args), "--json"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout)


@pytest.fixture(scope="session", params=["cpu", "software"])
def device(request: pytest.FixtureRequest) -> str:
    """Each kind of device: the CPU, and a software Vulkan driver."""
    if request.param == "cpu":
        return "cpu"
    found = software_device()
    if found is None:
        # CI installs one and says how many there must be.
        assert not os.environ.get("RMNET_TEST_ADAPTERS"), "expected a software Vulkan driver, found none"
        pytest.skip("no software Vulkan driver")
    return found


@pytest.fixture(scope="session")
def digits() -> rmnet.Session:
    """The bundled model on the CPU, four images at once."""
    return rmnet.Session(DIGITS, "cpu", batch=4)

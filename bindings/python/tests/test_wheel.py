"""A wheel of the library that the tests were built with, put together by maturin and installed."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import rmnet
from conftest import DIGITS, IMAGES

SOURCE = Path(__file__).resolve().parents[1]
CODE = f"""
import rmnet
[[best]] = rmnet.Session({str(DIGITS)!r}, "cpu").classify([{str(IMAGES[0])!r}], 1)
print(rmnet.__file__, best.label)
"""


def run(*command: object, **environment: str) -> str:
    env = {**os.environ, **environment}
    done = subprocess.run([sys.executable, *map(str, command)], env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_wheel_is_whole_and_runs(tmp_path: Path) -> None:
    pytest.importorskip("maturin", reason="maturin is not installed")
    if "RMNET_PROGRAM" not in os.environ:
        pytest.skip("run.sh builds the library, which would take minutes")
    options = ["--profile", "test", "--locked", "--compatibility", "linux", "--auditwheel", "skip", "--out", tmp_path]
    run("-m", "maturin", "build", "-m", SOURCE / "Cargo.toml", *options, CARGO=str(SOURCE / "tests" / "cargo.sh"))
    [wheel] = tmp_path.glob("*.whl")
    assert wheel.name.startswith(f"rmnet-{rmnet.__version__}-cp310-abi3-")
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
        about = f"rmnet-{rmnet.__version__}.dist-info"
        metadata = packed.read(f"{about}/METADATA").decode()
        for name in ("LICENSE-APACHE", "LICENSE-MIT"):
            assert packed.read(f"{about}/licenses/{name}") == (SOURCE / name).read_bytes()
    package = SOURCE / "python"
    sources = {path.relative_to(package).as_posix() for path in package.rglob("*") if path.suffix in (".py", ".pyi")}
    assert {"rmnet/py.typed", "rmnet/_rmnet.pyi", *sources} <= names
    [native] = names - sources - {"rmnet/py.typed"} - {name for name in names if name.startswith(about)}
    assert native.startswith("rmnet/_rmnet.abi3.")
    lines = ("License-Expression: MIT OR Apache-2.0", "License-File: LICENSE-MIT", "Requires-Python: >=3.10")
    assert all(line in metadata for line in (*lines, "Requires-Dist: numpy>=1.24"))

    # NumPy is the tests' own, so that nothing is downloaded.
    site = tmp_path / "site"
    run("-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-index", "--no-deps", "--target", site, wheel)
    file, label = run("-c", CODE, PYTHONPATH=str(site)).split()
    assert Path(file).is_relative_to(site) and label == IMAGES[0].stem[-1]

"""The package as a whole: its stubs, its documentation, and its README."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rmnet
import rmnet.ray
from conftest import DIGITS, IMAGES, ROOT

PACKAGE = Path(rmnet.__file__).parent
SOURCE = Path(__file__).resolve().parents[1]


def run(*args: object) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *map(str, args)], cwd=SOURCE, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_types() -> None:
    pytest.importorskip("mypy")
    cache = ROOT / "target" / "mypy"
    run("mypy", "--cache-dir", cache)


def test_stubs_are_those_of_the_native_half() -> None:
    pytest.importorskip("mypy")
    run("mypy.stubtest", "rmnet._rmnet", "--mypy-config-file", "tests/stubtest.ini")


def test_everything_public_is_documented() -> None:
    names = {name for name in vars(rmnet) if not name.startswith("_")} - {"ray"}
    assert names <= set(rmnet.__all__)
    undocumented = []
    for name in rmnet.__all__:
        item = getattr(rmnet, name)
        if not (inspect.isclass(item) or inspect.isfunction(item)):
            continue
        members = (
            [(f"{name}.{n}", m) for n, m in vars(item).items() if not n.startswith("_")]
            if inspect.isclass(item)
            else []
        )
        for title, member in [(name, item), *members]:
            member = member.__func__ if isinstance(member, (classmethod, staticmethod)) else member
            documented = inspect.isclass(member) or callable(member) or isinstance(member, property)
            if documented and not (member.__doc__ or "").strip():
                undocumented.append(title)
    assert undocumented == []


def blocks(path: Path) -> list[str]:
    """The examples in Python of a page, but those that begin with `# not run`."""
    found = re.findall(r"^```python\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE)
    assert found, path
    return [code for code in found if "# not run" not in code.splitlines()[0]]


@pytest.mark.parametrize("page", [SOURCE / "README.md", ROOT / "docs" / "embedding.md"], ids=lambda page: page.name)
def test_examples_of_the_pages(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "assets").symlink_to(ROOT / "assets")
    variables: dict[str, object] = {}
    for code in blocks(page):
        exec(compile(code, str(page), "exec"), variables)


def test_examples_of_the_docstrings(monkeypatch: pytest.MonkeyPatch) -> None:
    import doctest

    import rmnet._session

    monkeypatch.chdir(ROOT)
    ran = 0
    for module in (rmnet._session, rmnet.ray):
        result = doctest.testmod(module, extraglobs={"rmnet": rmnet, "np": np})
        assert result.failed == 0
        ran += result.attempted
    assert ran >= 6


def test_files_stay_short() -> None:
    folders = [SOURCE / name for name in ("examples", "python", "src", "tests")]
    files = [path for folder in folders for path in folder.rglob("*") if path.suffix in (".py", ".pyi", ".rs")]
    assert len(files) > 15
    for path in files:
        assert len(path.read_text().splitlines()) <= 450, path


@pytest.mark.parametrize("name", ["LICENSE-APACHE", "LICENSE-MIT"])
def test_the_licences_in_the_wheel_are_those_of_the_root(name: str) -> None:
    assert (SOURCE / name).read_bytes() == (ROOT / name).read_bytes()
    assert f'"{name}"' in (SOURCE / "pyproject.toml").read_text()


def test_versions_agree() -> None:
    stated = re.search(r'^version = "(.*)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)
    assert stated is not None and rmnet.__version__ == stated[1]
    assert DIGITS.is_dir() and len(IMAGES) == 14

"""Options of a wrong type or beyond any range: every error is the package's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rmnet
from conftest import DIGITS, IMAGES

HUGE = 10**30


def opened(*args: Any, **options: Any) -> rmnet.Session:
    return rmnet.Session(*(args or (DIGITS,)), **{"device": "cpu", **options})


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"batch": HUGE}, "batch: expected a whole number up to"),
    ({"batch": 10**5000}, "batch: expected a whole number up to .* found a larger one"),
    ({"batch": True}, "batch: expected a whole number, at least 1, found True"),
    ({"batch": np.True_}, "batch: expected a whole number"),
    ({"size": HUGE}, "size: expected a whole number up to"),
    ({"size": 224.0}, "size: expected a whole number, at least 1, found 224.0"),
    ({"size": np.array([224.0, 224.0])}, "size: expected a whole number"),
    ({"size": np.array([1, 2, 3])}, "size: expected a side or"),
    ({"size": b"32"}, "size: expected a side or"),
    ({"threads": -(10**5000)}, "threads: expected a whole number, at least 1, found int"),
    ({"timeout": True}, "timeout: expected seconds, found True"),
    ({"timeout": 10**400}, "timeout: expected seconds"),
    ({"timeout": float("nan")}, "timeout: expected seconds"),
    ({"assume": [("a", "b")]}, "assume: expected a mapping, such as a dict, found list"),
    ({"assume": {1: 2}}, "assume: expected a text, found 1"),
    ({"keep": 5}, "keep: expected a list of names, found 5"),
    ({"keep": [b"layer1"]}, "keep: expected a text"),
    ({"mode": "\ud800"}, "mode: expected a text that UTF-8 can encode"),
    ({"device": "\ud800"}, "device: expected a text"),
    ({"device": True}, "device: expected None, a text or the number of an adapter, found True"),
    ({"device": 0.0}, "device: expected None, a text or the number of an adapter, found 0.0"),
    ({"device": -1}, "device: expected a whole number, at least 0, found -1"),
    ({"tuning": 3}, "tuning: expected a path, found int"),
    ({"self_test_record": True}, "self_test_record: expected a path, found bool"),
]


@pytest.mark.parametrize(("options", "text"), WRONG, ids=[f"{i} {next(iter(o))}" for i, (o, _) in enumerate(WRONG)])
def test_options_of_a_session(options: dict[str, Any], text: str) -> None:
    with pytest.raises(rmnet.OptionError, match=f"^{text}"):
        opened(**options)


def test_numbers_of_numpy_are_numbers() -> None:
    for size in (np.array([32, 32]), np.int32(32), [32, np.int64(32)], np.array(32)):
        session = opened(size=size, batch=np.int64(2), timeout=np.float32(5))
        assert session.input_shape == (2, 3, 32, 32)


def test_paths(tmp_path: Path) -> None:
    out = tmp_path / "plain.safetensors"
    wrong = [(3, "found int"), (b"path", r"found bytes: pass `os.fsdecode\(path\)`"), (None, "found NoneType")]
    for path, text in wrong:
        for call in (
            lambda path=path: opened(path),
            lambda path=path: rmnet.convert(path, out),
            lambda path=path: rmnet.prune(path, out, ratio=0.1),
        ):
            with pytest.raises(rmnet.OptionError, match=f"^path: expected a path, {text}"):
                call()
        with pytest.raises(rmnet.OptionError, match=f"^out: expected a path, {text}"):
            rmnet.convert(DIGITS, path)  # type: ignore[arg-type]


def test_arguments_of_calls(digits: rmnet.Session) -> None:
    logits = np.zeros((1, 10), np.float32)
    cases: list[tuple[Any, type[rmnet.Error], str]] = [
        (lambda: digits.classify(IMAGES[:1], HUGE), rmnet.OptionError, "top_k: expected a whole number up to"),
        (lambda: digits.predictions(logits, 0), rmnet.OptionError, "top_k: expected a whole number, at least 1"),
        (lambda: digits.predictions(logits[0]), rmnet.InputError, "logits: expected"),
        (lambda: digits.predictions([["a"]]), rmnet.DtypeError, "logits: expected float32, found"),  # type: ignore[arg-type]
        (lambda: digits.predictions([[1], [1, 2]]), rmnet.InputError, "logits: NumPy cannot read it"),  # type: ignore[arg-type]
        (lambda: digits.verify(seed=-1), rmnet.OptionError, "seed: expected a whole number, at least 0, found -1"),
        (lambda: digits.verify(seed=2**64), rmnet.OptionError, "seed: expected a whole number up to 1844"),
        (lambda: digits.verify(3), rmnet.InputError, "expected a list of images, found int"),  # type: ignore[arg-type]
        (lambda: rmnet.convert(DIGITS, "plain.onnx", output=3), rmnet.OptionError, "output: expected a text, found 3"),  # type: ignore[arg-type]
    ]
    for call, error, text in cases:
        with pytest.raises(error, match=text):
            call()
    assert len(digits.classify(IMAGES[:1], 2**62)[0]) == 10
    assert digits.verify(seed=2**64 - 1).ok


def test_a_batch_beyond_memory_is_refused() -> None:
    for batch in (2**62, 2**63 - 1):
        with pytest.raises(rmnet.Error, match="batch|memory") as caught:
            opened(batch=batch)
        assert not isinstance(caught.value, rmnet.InternalError)


def test_errors_of_the_callers_own_objects_pass() -> None:
    def images() -> Any:
        yield IMAGES[0]
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        opened().classify(images())

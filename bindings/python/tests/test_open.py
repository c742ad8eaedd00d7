"""Opening, pickling, errors, and the functions that write files."""

from __future__ import annotations

import contextlib
import errno
import json
import mmap
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rmnet
from conftest import DIGITS, IMAGES, expected, program, relative


def test_a_session_says_what_it_is(digits: rmnet.Session) -> None:
    assert digits.device.startswith("cpu") and not digits.is_on_gpu and digits.passed_over == []
    assert digits.labels == [str(digit) for digit in range(10)]
    assert digits.family == "torchvision CIFAR ResNet, BasicBlock [3, 3, 3]"
    assert digits.input_shape == (4, 3, 32, 32) and digits.output_shape == (4, 10)
    assert len(digits.blocks) == 9 and digits.blocks[0].name == "layer1.0"
    assert digits.blocks[0].detail.startswith("removed: identity shortcut")
    assert {"stem_pool", "stage_strides"} <= {a.key for a in digits.assumed}
    assert "mean" in digits.preprocess and digits.tuned_dispatches is None
    assert "conv3x3" in digits.plan() and digits.plan(svg=True).startswith("<svg")
    assert "BasicBlock" in repr(digits) and "cpu" in repr(digits)
    assert digits.memory.weights > 272_474 * 4 * 0.9


def test_auto_says_what_runs() -> None:
    session = rmnet.Session(DIGITS)
    hardware = [a for a in rmnet.adapters() if a.kind != "software" and a.problem is None]
    assert session.is_on_gpu == bool(hardware)
    if not hardware:
        assert session.device.startswith("cpu")
        assert len(session.passed_over) == len(rmnet.adapters())


def test_from_bytes() -> None:
    images, logits = expected(DIGITS)
    data = (DIGITS / "model.safetensors").read_bytes()
    config = json.loads((DIGITS / "config.json").read_text())
    for text in (config, json.dumps(config)):
        session = rmnet.Session.from_bytes(data, config=text, device="cpu", batch=14)
        assert relative(session.run(images), logits) < 1e-5 and session.labels is not None
    with (DIGITS / "model.safetensors").open("rb") as file:
        for form in (memoryview(data), mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)):
            assert rmnet.Session.from_bytes(form, device="cpu", size=32).labels is None
    plain = rmnet.Session.from_bytes(bytearray(data), device="cpu", size=(32, 32))
    assert plain.labels is None and plain.features(images).shape == (14, 64) and plain.verify().ok
    with pytest.raises(rmnet.PicklingError, match="cannot be pickled: write them to a file") as caught:
        pickle.dumps(plain)
    assert isinstance(caught.value, pickle.PicklingError)
    with pytest.raises(rmnet.CheckpointError, match="bytes"):
        rmnet.Session.from_bytes(b"no checkpoint", device="cpu")
    with pytest.raises(TypeError, match="found str"):
        rmnet.Session.from_bytes("model.safetensors")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="unexpected keyword argument 'devices'"):
        rmnet.Session.from_bytes(data, devices="cpu")
    for wrong, message in ((b"{}", "found bytes"), ({"a": {1}}, "set"), ("\ud800", "UTF-8")):
        with pytest.raises(rmnet.OptionError, match=f"^config: .*{message}"):
            rmnet.Session.from_bytes(data, config=wrong, device="cpu")  # type: ignore[arg-type]


def test_a_pickle_opens_the_path_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    images, _ = expected(DIGITS)
    monkeypatch.chdir(DIGITS.parent)
    session = rmnet.Session("digits", "cpu", batch=3, assume={"stem_pool": False}, output="layer2", keep=("layer1",))
    stored = pickle.dumps(session)
    assert len(stored) < 1000
    monkeypatch.chdir(tmp_path)
    again = pickle.loads(stored)
    assert repr(again) == repr(session) and again.assumed == session.assumed
    assert np.array_equal(again.run(images), session.run(images))
    assert again.run_keeping(images)[1].keys() == {"layer1"}


def in_child(session: rmnet.Session) -> list[str | None]:
    return [classes[0].label for classes in session.classify(IMAGES, 1)]


def test_a_spawned_process_gets_a_session(digits: rmnet.Session) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(in_child, (digits,)) == [path.stem[-1] for path in IMAGES]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_process_is_told_and_does_not_hang(device: str) -> None:
    code = f"""
import os, sys, threading, rmnet
session = rmnet.Session({str(DIGITS)!r}, {device!r}, batch=2, threads=2 if {device!r} == "cpu" else None)
image = {str(IMAGES[0])!r}
session.classify([image])
other = rmnet.Session({str(DIGITS)!r}, {device!r})
held = threading.Event()

def hold():
    with session._opening_features:
        held.set()
        threading.Event().wait(3)

holder = threading.Thread(target=hold)
holder.start()
held.wait()
child = os.fork()
if child == 0:
    calls = [lambda: session.classify([image]), lambda: session.features(session.prepare([image]))]
    calls += [lambda: session.memory, session.verify, rmnet.adapters]
    told = 0
    for call in calls:
        try:
            call()
        except rmnet.ForkError as error:
            told += "spawn" in str(error)
    del session, calls, call  # one by hand, the other by the interpreter as it ends
    sys.exit(7 if told == 5 else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
holder.join()
assert session.classify([image])[0][0].label == {IMAGES[0].stem[-1]!r}
"""
    parent = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    try:
        assert parent.wait(60) == 0
    finally:
        # A child that hangs does not end with its parent.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(parent.pid, signal.SIGKILL)


def test_errors_are_what_a_caller_expects(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes((DIGITS / "model.safetensors").read_bytes()[:1000])
    other = tmp_path / "other.safetensors"
    from safetensors.numpy import save_file

    save_file({"weight": np.zeros((2, 2), np.float32)}, other)
    missing = tmp_path / "none.safetensors"
    cases: list[tuple[Any, type[Exception], type[Exception], str]] = [
        (lambda: rmnet.Session(missing, "cpu"), rmnet.NotFoundError, FileNotFoundError, "none.safetensors"),
        (lambda: rmnet.Session(tmp_path / "a" / "b", "cpu"), rmnet.FileError, OSError, "a/b"),
        (lambda: rmnet.Session(damaged, "cpu"), rmnet.CheckpointError, ValueError, "not a valid safetensors file"),
        (lambda: rmnet.Session(other, "cpu"), rmnet.ModelError, ValueError, "weight"),
        (lambda: rmnet.Session(DIGITS, "no such card"), rmnet.DeviceError, RuntimeError, "no such card"),
        (lambda: rmnet.Session(DIGITS, ""), rmnet.OptionError, ValueError, "device: expected"),
        (
            lambda: rmnet.Session(DIGITS, "cpu", "f64"),
            rmnet.OptionError,
            ValueError,
            'precision: expected "f32" or "f16", found "f64"',
        ),  # type: ignore[arg-type]
        (
            lambda: rmnet.Session(DIGITS, "cpu", batch=0),
            rmnet.OptionError,
            ValueError,
            "batch: expected a whole number",
        ),
        (lambda: rmnet.Session(DIGITS, "cpu", batch=2.0), rmnet.OptionError, ValueError, "batch"),  # type: ignore[arg-type]
        (lambda: rmnet.Session(DIGITS, "cpu", batch=10**9), rmnet.PlanError, ValueError, "batch"),
        (lambda: rmnet.Session(DIGITS, "cpu", size=(32, -1)), rmnet.OptionError, ValueError, "size: expected a whole"),
        (lambda: rmnet.Session(DIGITS, "cpu", size="large"), rmnet.OptionError, ValueError, "found 'large'"),  # type: ignore[arg-type]
        (lambda: rmnet.Session(DIGITS, "cpu", size=10**9), rmnet.OptionError, ValueError, "1000000000"),
        (lambda: rmnet.Session(DIGITS, "cpu", assume={"stem": 1}), rmnet.OptionError, ValueError, "stem"),
        (lambda: rmnet.Session(DIGITS, "cpu", output="layer9"), rmnet.OptionError, ValueError, "layer9"),
        (lambda: rmnet.Session(DIGITS, "cpu", keep="layer1"), rmnet.OptionError, ValueError, r"pass \['layer1'\]"),
        (lambda: rmnet.Session(DIGITS, "cpu", keep=["layer9"]), rmnet.OptionError, ValueError, "layer9"),
        (lambda: rmnet.Session(DIGITS, "cpu", threads=0), rmnet.OptionError, ValueError, "threads"),
        (
            lambda: rmnet.Session(DIGITS, "cpu", keep=[1]),
            rmnet.OptionError,
            ValueError,
            "keep: expected a text, found 1",
        ),  # type: ignore[list-item]
        (
            lambda: rmnet.Session(DIGITS, "cpu", None),
            rmnet.OptionError,
            ValueError,
            "precision: expected a text, found None",
        ),  # type: ignore[arg-type]
        (lambda: rmnet.Session(DIGITS, "cpu", timeout="5"), rmnet.OptionError, ValueError, "timeout: expected seconds"),  # type: ignore[arg-type]
        (lambda: rmnet.Session(DIGITS, "cpu", timeout=-1), rmnet.OptionError, ValueError, "timeout"),
        (lambda: rmnet.Session(DIGITS, "cpu", mode="plain"), rmnet.OptionError, ValueError, "mode: expected"),  # type: ignore[arg-type]
        (lambda: rmnet.Session(DIGITS, "cpu", tuning=missing), rmnet.FileError, FileNotFoundError, "none.safetensors"),
        (lambda: rmnet.Session(DIGITS, "cpu", tuning=other), rmnet.Error, Exception, "other.safetensors|tuning"),
    ]
    for call, error, builtin, text in cases:
        with pytest.raises(error, match=text) as caught:
            call()
        assert isinstance(caught.value, builtin) and isinstance(caught.value, rmnet.Error)
    with pytest.raises(FileNotFoundError) as caught:
        rmnet.Session(missing, "cpu")
    assert caught.value.errno == errno.ENOENT


def test_a_file_that_changes_is_not_read_again(tmp_path: Path) -> None:
    images, _ = expected(DIGITS)
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("model.safetensors", "config.json"):
        shutil.copy(DIGITS / name, folder)
    weights, config = folder / "model.safetensors", folder / "config.json"
    for path, changed in ((folder, weights), (weights, config)):
        session = rmnet.Session(path, "cpu", batch=14)
        assert session.verify(images[:1]).ok
        (folder / "notes.txt").write_text("beside the model")
        now = changed.stat().st_mtime_ns
        os.utime(changed, ns=(now, now + 1_000_000_000))
        for call in (session.verify, lambda session=session: session.features(images)):
            with pytest.raises(rmnet.CheckpointError, match="changed since the session was opened"):
                call()
        assert session.run(images).shape == (14, 10)
        assert rmnet.Session(path, "cpu", batch=14).features(images).shape == (14, 64)
    opened = rmnet.Session(folder, "cpu", batch=14)
    features = opened.features(images)
    weights.unlink()
    assert np.array_equal(opened.features(images), features)  # they were read before
    with pytest.raises(FileNotFoundError):
        opened.verify()


def test_a_tuning_is_used(device: str, tmp_path: Path) -> None:
    empty = tmp_path / "empty.json"
    empty.write_text('{ "schema_version": 2, "adapters": [] }')
    options: dict[str, Any] = {"device": device, "size": 8, "output": "layer1.0"}
    plain = rmnet.Session(DIGITS, tuning=empty, **options)
    assert plain.tuned_dispatches == (0 if plain.is_on_gpu else None)
    if not plain.is_on_gpu:
        return
    path = tmp_path / "tuning.json"
    command = [program(), "tune", DIGITS, "--adapter", device, "--size", "8", "--output", "layer1.0", "-o", path]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    tuned = rmnet.Session(DIGITS, tuning=path, **options)
    assert tuned.tuned_dispatches is not None and tuned.tuned_dispatches > 0
    assert pickle.loads(pickle.dumps(tuned)).tuned_dispatches == tuned.tuned_dispatches
    images = np.random.default_rng(1).standard_normal((1, 3, 8, 8), np.float32)
    assert relative(tuned.run(images), plain.run(images)) < 1e-5


def test_the_results_of_self_tests_are_kept(device: str, tmp_path: Path) -> None:
    record = tmp_path / "self-tests.json"
    options: dict[str, Any] = {"device": device, "batch": 14, "self_test_record": record}
    session = rmnet.Session(DIGITS, **options)
    assert session.quarantined == [] and record.exists() == session.is_on_gpu
    with pytest.raises(rmnet.FileError, match="^self_test_record: .*regular file"):
        rmnet.Session(DIGITS, device, self_test_record=tmp_path)
    if not session.is_on_gpu:
        return
    # A fault as another process would have written it, of kernels that others can take the place of.
    kernel = '"kernel": "software-winograd-4x4 '
    spoiled = record.read_text().replace(kernel, f'"wrong": "a planted fault", {kernel}', 1)
    record.write_text(spoiled)
    # What is wrong stays so in this process.
    code = f"""
import json, pickle, rmnet
session = rmnet.Session({str(DIGITS)!r}, {device!r}, batch=14, self_test_record={str(record)!r})
untested = rmnet.Session({str(DIGITS)!r}, {device!r}, self_test=False, self_test_record="/no/such/folder/file")
again = pickle.loads(pickle.dumps(session))
assert again.quarantined == session.quarantined and untested.quarantined == []
print(json.dumps([*session.quarantined, {IMAGES[0].stem[-1]!r} == session.classify([{str(IMAGES[0])!r}])[0][0].label]))
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=300)
    (family, precision, problem), right = json.loads(done.stdout)
    assert (family, precision) == ("software-winograd-4x4", "f32") and "a planted fault" in problem and right
    assert "a planted fault" in record.read_text()
    # No other kernel computes the first convolution.
    first = '"kernel": "software-direct '
    record.write_text(spoiled.replace(first, f'"wrong": "a second fault", {first}', 1))
    code = f"import rmnet; rmnet.Session({str(DIGITS)!r}, {device!r}, batch=14, self_test_record={str(record)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert "DeviceError" in done.stderr and "a second fault" in done.stderr


def test_convert_writes_what_a_session_opens(tmp_path: Path) -> None:
    images, logits = expected(DIGITS)
    report = rmnet.convert(DIGITS, tmp_path / "plain.safetensors")
    assert report.path.stat().st_size == report.bytes and report.format == "safetensors"
    assert [block.outcome for block in report.blocks] == ["removed"] * 9 and report.deviation == 0
    plain = rmnet.Session(report.path, "cpu", batch=14)
    assert relative(plain.run(images), logits) < 1e-5 and plain.labels == [str(digit) for digit in range(10)]
    literal = rmnet.convert(DIGITS, tmp_path / "plain.safetensors", literal=True)  # in place of the other
    assert relative(rmnet.Session(literal.path, "cpu", batch=14).run(images), logits) < 1e-5
    features = rmnet.convert(DIGITS, tmp_path / "features.safetensors", output="features")
    assert rmnet.Session(features.path, "cpu").output_shape[1] == 64
    merged = rmnet.convert(DIGITS, tmp_path / "merged.safetensors", merge=True)
    assert relative(rmnet.Session(merged.path, "cpu", batch=14).run(images), logits) < 1e-5
    onnx = rmnet.convert(DIGITS, str(tmp_path / "plain.ONNX"), size=64)
    assert onnx.format == "onnx" and onnx.bytes > 1_000_000


def test_writing_spares_other_files(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(DIGITS, folder)
    note = tmp_path / "note.safetensors"
    note.write_text("a note")
    cases = [
        (tmp_path / "plain.bin", rmnet.OptionError, r"ends in .safetensors or .onnx"),
        (folder / "model.safetensors", rmnet.OptionError, "read from"),
        (note, rmnet.OptionError, "it is not overwritten"),
        (tmp_path / "none" / "plain.safetensors", rmnet.FileError, "cannot write"),
    ]
    for out, error, text in cases:
        for write in (rmnet.convert, lambda path, out: rmnet.prune(path, out, ratio=0.1)):
            with pytest.raises(error, match=text):
                write(folder, out)
    assert note.read_text() == "a note"
    with pytest.raises(rmnet.OptionError, match="rmnet.convert"):
        rmnet.prune(folder, tmp_path / "small.onnx", ratio=0.1)


def test_prune(tmp_path: Path) -> None:
    images, _ = expected(DIGITS)
    out = tmp_path / "small.safetensors"
    report = rmnet.prune(DIGITS, out, ratio=0.3)
    assert 0 < report.removed <= 0.3 * report.channels
    for before, after in (report.macs, report.parameters, report.activation_bytes):
        assert after <= before
    assert report.macs[1] < report.macs[0] and any(after < before for before, after in report.layers.values())
    assert rmnet.Session(out, "cpu").run(images).shape == (14, 10)
    share = rmnet.prune(DIGITS, out, macs=0.7, criterion="l1", keep_at_least=0.25, multiple=2)
    assert share.macs[1] <= 0.7 * share.macs[0]
    for one, other in ((0.5, np.float32(0.5)), (1, np.int64(1))):
        reports = [rmnet.prune(DIGITS, out, ratio=0.2, keep_at_least=least) for least in (one, other)]  # type: ignore[arg-type]
        assert reports[0] == reports[1]
    for whole in (1.0, np.float32(1.0)):  # a share, not one channel
        with pytest.raises(rmnet.OptionError, match="0.2 cannot be reached, the nearest is 0.0"):
            rmnet.prune(DIGITS, out, ratio=0.2, keep_at_least=whole)  # type: ignore[arg-type]
    for calibration in (IMAGES[:3], images[:3]):
        assert rmnet.prune(DIGITS, out, ratio=0.2, criterion="mean", calibration=calibration).removed > 0
    cases = [
        ({}, "one of ratio and macs"),
        ({"ratio": 0.1, "macs": 0.5}, "one of ratio and macs"),
        ({"ratio": 2.0}, "ratio"),
        ({"ratio": 0.1, "criterion": "mean"}, "needs calibration"),
        ({"ratio": 0.1, "calibration": IMAGES[:1]}, "alone"),
        ({"ratio": 0.1, "criterion": "l2"}, 'expected "bn", "l1" or "mean"'),
        ({"ratio": 0.1, "limits": {"layer9": 0.5}}, "layer9"),
        ({"ratio": 0.1, "limits": [("layer1", 0.5)]}, "limits: expected a mapping"),
        ({"ratio": 0.1, "limits": {"layer1": "a"}}, "limits: expected a number, found 'a'"),
        ({"ratio": "0.3"}, "ratio: expected a number, found '0.3'"),
        ({"macs": [1]}, "macs: expected a number"),
        ({"ratio": 0.1, "multiple": -1}, "multiple: expected a whole number, at least 1, found -1"),
        ({"ratio": 0.1, "multiple": 4.0}, "multiple: expected a whole number"),
        ({"ratio": 0.1, "keep_at_least": True}, "keep_at_least: expected a whole number"),
        ({"ratio": 0.1, "keep_at_least": "1"}, "keep_at_least: expected a number of channels"),
        ({"ratio": 0.1, "criterion": 1}, "criterion: expected a text"),
    ]
    for options, text in cases:
        with pytest.raises(rmnet.OptionError, match=text):
            rmnet.prune(DIGITS, out, **options)  # type: ignore[arg-type]


def test_a_panic_is_an_error() -> None:
    half = rmnet.Session(DIGITS, "cpu", "f16")
    # No input is known to panic. The native half, which the package hands whole images alone, asserts that it has them.
    with pytest.raises(rmnet.InternalError, match="please report it") as caught:
        half._core.verify(np.zeros((1, 5), np.float32), 1)
    assert isinstance(caught.value, RuntimeError)
    assert half.classify(IMAGES[:1], 1)[0][0].label == IMAGES[0].stem[-1]

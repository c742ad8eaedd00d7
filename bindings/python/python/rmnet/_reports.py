"""What sessions, proofs and the writing functions report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class Prediction(NamedTuple):
    """A class of an image, with its score."""

    class_index: int
    """Index of its logit, from 0."""
    label: str | None
    """Its name, if the checkpoint's config files have names."""
    probability: float | None
    """From 0 to 1: by softmax, or by a sigmoid per class if the config declares several labels an image. `None` for a
    regression.
    """
    logit: float
    """Its logit."""


class Block(NamedTuple):
    """A residual block of the network, or parallel branches that are summed."""

    name: str
    """Its name in the checkpoint."""
    outcome: str
    """``"removed"``: it has become a chain. ``"summed"``: parallel branches are one convolution. ``"kept"``: unchanged.
    """
    detail: str
    """The outcome as a sentence; for ``"kept"`` with the reason."""


class Assumption(NamedTuple):
    """A property of the network that no tensor shows."""

    key: str
    """Its name, as `assume` spells it."""
    value: str
    """What was taken."""
    stated: bool
    """Whether `assume` or a config file stated it; if not, it is the family's convention."""


class Quarantined(NamedTuple):
    """A family of kernels that is not used, because the driver computes it wrong."""

    family: str
    """Its name, such as ``"winograd-fused"``."""
    precision: str
    """The precision in which it is not used: ``"f32"`` or ``"f16"``."""
    problem: str
    """The kernel that was tested, and its first wrong value."""


class Memory(NamedTuple):
    """Bytes that a session holds on its device."""

    activations: int
    """Values between layers."""
    scratch: int
    """Intermediate values of kernels of several shaders."""
    weights: int
    """Packed weights and biases."""
    transfer: int
    """Inputs, outputs and their staging buffers."""

    @property
    def total(self) -> int:
        """All of them."""
        return self.activations + self.scratch + self.weights + self.transfer


class Adapter(NamedTuple):
    """A GPU, or a software driver, as Vulkan, Metal, DirectX 12 or OpenGL lists it."""

    name: str
    """Its name. A part of it is a `device`."""
    kind: str
    """``"discrete"``, ``"integrated"``, ``"virtual"``, ``"software"`` or ``"other"``."""
    backend: str
    """``"vulkan"``, ``"metal"``, ``"dx12"`` or ``"gl"``."""
    driver: str
    """Driver and version."""
    pci: str | None
    """The card's address, such as ``"0000:65:00.0"``, if the driver reports it. ``f"pci:{pci}"`` is a `device`."""
    f16: bool
    """Whether its shaders may use 16-bit floats."""
    max_buffer_bytes: int
    """Bytes of the largest buffer."""
    problem: str | None
    """Why it cannot be used; `None` if it can."""


@dataclass(frozen=True)
class BlockProof:
    """How far the end of a block is from the original. Errors are relative to the block's largest value."""

    name: str
    """The block."""
    outcome: str
    """As `Block.outcome`."""
    f64_error: float
    """Of the rewritten network in f64."""
    f64_bound: float
    """Bound on `f64_error`."""
    device_error: float | None
    """Of the device. It has no bound of its own: the logits have. `None` if nothing ran there."""
    ok: bool
    """Whether `f64_error` is within its bound and the device's values are finite."""


@dataclass(frozen=True)
class Proof:
    """A comparison of the network that runs with the original, block by block. ``str(proof)`` is a table."""

    ok: bool
    """Whether there is no failure."""
    failures: list[str]
    """What differs by more than its bound, as sentences."""
    blocks: list[BlockProof]
    """Every block, in order."""
    f64_bound: float
    """Bound on the errors in f64."""
    logits_f64_error: float
    """Error of the logits in f64, relative to the largest."""
    device: str
    """The device that was compared."""
    device_bound: float
    """Bound on `logits_device_error`: what rounding in the session's precision can cause."""
    logits_device_error: float | None
    """Error of the device's logits. `None` if the precision cannot hold the network's values."""

    def __str__(self) -> str:
        def cell(error: float | None) -> str:
            return "-" if error is None else f"{error:.1e}"

        rows = [f"{'block':<36} {'residual':<8} {'f64':>10} {'device':>10}"]
        for b in self.blocks:
            rows.append(f"{b.name:<36} {b.outcome:<8} {cell(b.f64_error):>10} {cell(b.device_error):>10}")
        rows.append(f"{'logits':<36} {'':<8} {cell(self.logits_f64_error):>10} {cell(self.logits_device_error):>10}")
        verdict = "verified" if self.ok else "FAILED: " + "; ".join(self.failures)
        rows.append(f"{verdict}: f64 bound {self.f64_bound:g}, logits bound {self.device_bound:.2e} on {self.device}")
        return "\n".join(rows)


@dataclass(frozen=True)
class Converted:
    """A network that `convert` has written."""

    path: Path
    """The file."""
    format: str
    """``"safetensors"`` or ``"onnx"``."""
    bytes: int
    """Its size."""
    blocks: list[Block]
    """What became of every residual block."""
    deviation: float
    """Largest difference of a carried channel's weight from the identity: 0 unless the file came from another tool that
    rounded.
    """


@dataclass(frozen=True)
class Pruned:
    """A network that `prune` has written. Pairs are figures before and after."""

    path: Path
    """The file."""
    bytes: int
    """Its size."""
    channels: int
    """Channels that could have been removed."""
    removed: int
    """Channels that were removed."""
    macs: tuple[int, int]
    """Multiply-accumulates of one image."""
    parameters: tuple[int, int]
    """Learned values."""
    activation_bytes: tuple[int, int]
    """Memory of the values between layers, for one image."""
    dispatches: tuple[int, int]
    """Dispatches of the plan."""
    layers: dict[str, tuple[int, int]]
    """Channels that each layer computes."""
    left: dict[str, str]
    """Layers in which channels had to stay, with the reason."""

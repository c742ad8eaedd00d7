"""Against PyTorch itself, on the same weights, where it is installed (`pip install torch torchvision`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rmnet
from conftest import DIGITS, expected, relative
from PIL import Image

torch = pytest.importorskip("torch", reason="torch is not installed: its logits are those stored with the fixtures")
torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed")


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnext50_32x4d", "mobilenet_v2"])
def test_torchvisions_own_networks(name: str, tmp_path: Path, device: str) -> None:
    if device != "cpu" and name != "resnet18":
        pytest.skip("one network is enough for a driver that compiles shaders on the CPU")
    torch.manual_seed(1)
    network = getattr(torchvision.models, name)(weights=None)
    # Statistics that are not those of a fresh batch norm, without letting values grow or vanish.
    network.train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(8, 3, 224, 224) * 0.7 + 0.1)
    network.eval()
    path = tmp_path / f"{name}.pth"
    torch.save(network.state_dict(), path)
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        wanted = network.double()(images.double()).numpy()
    session = rmnet.Session(path, device, batch=2)
    error = relative(session.run(images), wanted)
    print(f"{name} on {session.device}: {error:.1e} of the largest logit")
    assert error < 1e-5


def test_tensors_are_read_where_they_are(digits: rmnet.Session) -> None:
    images, _ = expected(DIGITS)
    tensor = torch.from_numpy(images)
    wanted = digits.run(images)
    assert np.array_equal(digits.run(tensor), wanted)
    channels_last = tensor.contiguous(memory_format=torch.channels_last)
    assert np.array_equal(digits.run(channels_last), wanted)
    with pytest.raises(rmnet.DtypeError, match=r"detach\(\).float\(\)"):
        digits.run(tensor.clone().requires_grad_())
    with pytest.raises(rmnet.DtypeError, match=r"detach\(\).float\(\)"):
        digits.run(tensor.bfloat16())
    with pytest.raises(rmnet.DtypeError, match="expected float32, found float64"):
        digits.run(tensor.double())
    with pytest.raises(rmnet.InputError, match="expected memory of the CPU, found .*meta"):
        digits.run(tensor.to("meta"))


def test_preprocessing_is_torchvisions(tmp_path: Path) -> None:
    network = torchvision.models.resnet18(weights=None)
    path = tmp_path / "resnet18.pth"
    torch.save(network.state_dict(), path)
    session = rmnet.Session(path, "cpu")
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (300, 500, 3), np.uint8))
    transform = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.transforms()
    assert np.abs(session.prepare([image]) - transform(image)[None].numpy()).max() < 1e-5

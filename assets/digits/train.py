"""Trains the bundled model: a CIFAR-style ResNet-20 that reads handwritten digits.

    python train.py

Writes model.safetensors, config.json, images/ and expected.safetensors beside itself, in a few minutes on two CPU
cores. The test split is fixed before anything else and is used once, at the end, to count errors: the number of
epochs and every other setting were chosen beforehand, and the weights kept are those of the last epoch.
"""

import json
import math
import shutil
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock

HERE = Path(__file__).resolve().parent
SEED = 0
SIZE = 32
EPOCHS = 14
BATCH = 64
PEAK_LEARNING_RATE = 0.1
EXTRA_IMAGES = 4  # drawn beside one image of each digit


class CifarResNet(nn.Module):
    """3x3 stem without max-pool, three stages of BasicBlocks, projection shortcuts, torchvision's names."""

    def __init__(self, blocks=3, channels=(16, 32, 64), classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(3, channels[0], kernel_size=3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels[0])
        self.layer1 = self.stage(channels[0], channels[0], 1, blocks)
        self.layer2 = self.stage(channels[0], channels[1], 2, blocks)
        self.layer3 = self.stage(channels[1], channels[2], 2, blocks)
        self.fc = nn.Linear(channels[2], classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @staticmethod
    def stage(inputs, outputs, stride, blocks):
        shortcut = None
        if stride != 1:
            conv = nn.Conv2d(inputs, outputs, kernel_size=1, stride=stride, bias=False)
            shortcut = nn.Sequential(conv, nn.BatchNorm2d(outputs))
        first = BasicBlock(inputs, outputs, stride, shortcut)
        return nn.Sequential(first, *[BasicBlock(outputs, outputs) for _ in range(blocks - 1)])

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(x.mean((2, 3)))


def to_image(digit):
    """One 8x8 digit with values 0..16 as the 32x32 RGB image that the model is made for."""
    gray = Image.fromarray(np.round(digit * 255 / 16).astype(np.uint8))
    return gray.resize((SIZE, SIZE), Image.Resampling.BILINEAR).convert("RGB")


def to_tensor(images, mean, std):
    """RGB images as one normalised [N, 3, 32, 32] tensor."""
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in images]))
    return ((pixels.permute(0, 3, 1, 2).float() / 255 - mean) / std).contiguous()


def augment(x, background):
    """Small random rotations, scalings and shifts, and a little noise."""
    n = len(x)

    def uniform(limit):
        return (torch.rand(n) * 2 - 1) * limit

    angle, scale = uniform(math.radians(12)), 1 + uniform(0.12)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    shift = 2.5 * 2 / SIZE
    rows = [torch.stack([cos, -sin, uniform(shift)], 1), torch.stack([sin, cos, uniform(shift)], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), x.shape, align_corners=False)
    moved = F.grid_sample(x - background, grid, align_corners=False) + background
    return moved + 0.05 * torch.randn_like(moved)


def train(x, labels, background):
    model = CifarResNet().to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, nesterov=True)
    steps = EPOCHS * math.ceil(len(x) / BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LEARNING_RATE, total_steps=steps)
    for epoch in range(EPOCHS):
        start, total = time.time(), 0.0
        for batch in torch.randperm(len(x)).split(BATCH):
            images = augment(x[batch], background).contiguous(memory_format=torch.channels_last)
            loss = F.cross_entropy(model(images), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(batch)
        print(f"epoch {epoch + 1:2}: loss {total / len(x):.4f}, {time.time() - start:.1f} s", flush=True)
    return model.to(memory_format=torch.contiguous_format)


def draw_images(test, labels, rng):
    """Indices of the test images to ship: one of each digit, then a few more, by lot."""
    drawn = [rng.choice([i for i in test if labels[i] == digit]) for digit in range(10)]
    rest = [i for i in test if i not in drawn]
    return sorted(int(i) for i in [*drawn, *rng.choice(rest, EXTRA_IMAGES, replace=False)])


def main():
    torch.manual_seed(SEED)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(2)

    digits = load_digits()
    images = [to_image(digit) for digit in digits.images]
    labels = torch.from_numpy(digits.target).long()
    everything = np.arange(len(images))
    training, test = train_test_split(everything, test_size=0.2, random_state=SEED, stratify=digits.target)

    # The images are gray, so that one mean and one deviation serve all three channels.
    pixels = np.stack([np.asarray(images[i]) for i in training]) / 255
    mean, std = round(float(pixels.mean()), 4), round(float(pixels.std()), 4)
    x = to_tensor(images, mean, std)
    model = train(x[training], labels[training], background=-mean / std)

    save_file(model.state_dict(), HERE / "model.safetensors", metadata={"format": "pt"})

    # From here on, the model as stored, in float64.
    model = CifarResNet()
    model.load_state_dict(load_file(HERE / "model.safetensors"))
    model.double().eval()
    with torch.no_grad():
        wrong = test[(model(x[test].double()).argmax(1) != labels[test]).numpy()]
    accuracy = 1 - len(wrong) / len(test)
    print(f"test: {len(wrong)} of {len(test)} wrong, accuracy {accuracy:.4f}")
    print("wrong:", sorted(int(i) for i in wrong))

    config = {
        "num_classes": 10,
        "num_features": 64,
        "global_pool": "avg",
        "id2label": {str(i): str(i) for i in range(10)},
        "pretrained_cfg": {
            "input_size": [3, SIZE, SIZE],
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "crop_mode": "center",
            "mean": [mean] * 3,
            "std": [std] * 3,
            "num_classes": 10,
            "first_conv": "conv1",
            "classifier": "fc",
        },
        "test": {"images": len(test), "wrong": len(wrong), "accuracy": round(accuracy, 4)},
    }
    (HERE / "config.json").write_text(json.dumps(config, indent=2) + "\n")

    shutil.rmtree(HERE / "images", ignore_errors=True)
    (HERE / "images").mkdir()
    drawn = draw_images(test, digits.target, np.random.default_rng(SEED))
    paths = [HERE / "images" / f"{i:04}_{digits.target[i]}.png" for i in drawn]
    for i, path in zip(drawn, paths):
        images[i].save(path, optimize=True)

    # In the order of the sorted file names, from the files themselves.
    shipped = to_tensor([Image.open(path) for path in paths], mean, std)
    with torch.no_grad():
        logits = model(shipped.double())
    save_file({"input": shipped, "logits": logits}, HERE / "expected.safetensors")
    for path, row in zip(paths, logits):
        print(f"{path.name}: reads {row.argmax()} with probability {row.softmax(0).max():.4f}")


if __name__ == "__main__":
    main()

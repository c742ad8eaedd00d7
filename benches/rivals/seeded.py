"""The networks that every contender runs: torchvision's own layers, seeded."""

import torch
import torchvision
from torch import nn


def network(name: str) -> nn.Module:
    """The network in f32, seeded."""
    torch.manual_seed(0)
    net = getattr(torchvision.models, name)(weights=None).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.7, 1.3)
            module.weight.data.uniform_(0.4, 0.9)
            module.bias.data.normal_(0, 0.1)
    return net

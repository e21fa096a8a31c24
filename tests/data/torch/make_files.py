"""How the files in this folder were made: torch 2.13.0 on a CPU. Not run by tests; torch is not needed."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from torch import nn

OUT = Path(__file__).parent


def ramp(step: float, *shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return (torch.arange(int(np.prod(shape)), dtype=torch.float32) * step - 1).reshape(shape).to(dtype)


def filled(module: nn.Module) -> nn.Module:
    with torch.no_grad():
        for i, parameter in enumerate(module.parameters()):
            parameter.copy_(ramp(0.25 * (i + 1), *parameter.shape))
    return module


def state_dict() -> None:
    net = filled(nn.Sequential(OrderedDict(fc1=nn.Linear(2, 3), act=nn.Tanh(), fc2=nn.Linear(3, 2))))
    torch.save(net.state_dict(), OUT / "state_dict.pt")
    torch.save(net, OUT / "whole_module.pt")
    torch.save(net.state_dict(), OUT / "legacy.pt", _use_new_zipfile_serialization=False)


def train_state() -> None:
    base = ramp(0.5, 3, 4)
    net = filled(nn.Linear(2, 3))
    optimiser = torch.optim.Adam(net.parameters())
    net(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    weights = OrderedDict(
        tied_a=base,
        tied_b=base,
        transposed=base.t(),
        row=base[1],
        strided=base[:, ::2],
        expanded=base[0, :1].expand(3),
        half=ramp(0.5, 4, dtype=torch.float16),
        bfloat=ramp(0.5, 4, dtype=torch.bfloat16),
        double=ramp(0.5, 2, dtype=torch.float64),
        boolean=torch.tensor([True, False]),
        int64=torch.arange(3),
        uint8=torch.arange(3, dtype=torch.uint8),
        float8=ramp(0.5, 4).to(torch.float8_e4m3fn),
        uint16=torch.arange(3).to(torch.uint16),
        parameter=nn.Parameter(ramp(2, 2)),
        scalar=torch.tensor(2.5),
        empty=torch.zeros(0, 3),
        complex=torch.tensor([1 + 2j]),
    )
    whole = {
        "epoch": 3,
        "loss": 0.5,
        "name": "x",
        "none": None,
        "model_state_dict": weights,
        "optimizer_state_dict": optimiser.state_dict(),
        "shape": torch.Size([1, 2]),
        "dtype": torch.float32,
    }
    torch.save(whole, OUT / "train_state.pt")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 4)
        self.conv1d = nn.Conv1d(4, 3, 2)
        self.conv = nn.Conv2d(2, 3, (3, 2))
        self.norm = nn.BatchNorm2d(3)
        self.head = nn.Linear(6, 2)

    def forward(self, image: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        seen = torch.relu(self.norm(self.conv(image))).mean((2, 3))
        read = self.conv1d(self.embedding(tokens).transpose(1, 2)).mean(2)
        return self.head(torch.cat([seen, read], 1))


def network() -> None:
    """A small network of several kinds of layers, with what it makes of an input."""
    torch.manual_seed(0)
    net = Net()
    with torch.no_grad():
        for name, buffer in net.named_buffers():
            if "running" in name:
                buffer.copy_(torch.rand(3) + 0.5)
        net.norm.weight.copy_(torch.rand(3) + 0.5)
        net.norm.bias.copy_(torch.rand(3))
    net.eval()
    image, tokens = torch.randn(3, 2, 6, 5), torch.randint(0, 5, (3, 7))
    with torch.no_grad():
        output = net(image, tokens)
    torch.save(
        {"state_dict": net.state_dict(), "image": image, "tokens": tokens, "output": output},
        OUT / "network.pt",
    )


if __name__ == "__main__":
    state_dict()
    train_state()
    network()

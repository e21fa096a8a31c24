"""Modules of PyTorch for the tests: one of each kind that people train, as small as can be."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

CLASSES = 4


@dataclasses.dataclass(frozen=True)
class Sample:
    """A module with a loss and data: how it is made, and what its outputs are compared with."""

    make: Callable[[], Any]
    loss: Any
    data: Callable[[torch.Generator], Any]
    reference: Callable[[Any, Any], Any]  # (output, target) or (module, batch) to the values per example


class Convolutional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 3, 3),
            nn.BatchNorm2d(3),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(3, 4, 2),
            nn.GroupNorm(2, 4),
            nn.GELU(),
            nn.Flatten(),
        )
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x: Any) -> Any:
        return self.head(self.body(x))


class Causal(nn.Module):
    """A language model with fused causal attention, and embeddings tied to its last layer."""

    def __init__(self, *, tied: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 8)
        self.position = nn.Parameter(0.1 * torch.randn(5, 8))
        self.qkv = nn.Linear(8, 24)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 7, bias=False)
        self.register_buffer("shift", torch.zeros(1))
        if tied:
            self.head.weight = self.embedding.weight

    def forward(self, tokens: Any) -> Any:
        x = self.embedding(tokens) + self.position
        q, k, v = (part.unflatten(2, (2, 4)).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=2))
        found = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.head(self.norm(x + found.transpose(1, 2).flatten(2))) + self.shift


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 8, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Any) -> Any:
        return self.head(self.encoder(x).mean(1))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 4, batch_first=True)
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x: Any) -> Any:
        return self.head(self.lstm(x)[0][:, -1])


class Autoencoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Linear(6, 3)
        self.decode = nn.Linear(3, 6)

    def forward(self, x: Any) -> Any:
        return self.decode(torch.tanh(self.encode(x)))


def frozen() -> Any:
    module = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, CLASSES))
    module[0].requires_grad_(False)
    return module


class Block(nn.Module):
    """The basic block of a residual network (He et al. 2016)."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inner, outer, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outer)
        self.conv2 = nn.Conv2d(outer, outer, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outer)
        self.downsample = None
        if stride != 1 or inner != outer:
            self.downsample = nn.Sequential(
                nn.Conv2d(inner, outer, 1, stride, bias=False), nn.BatchNorm2d(outer)
            )

    def forward(self, x: Any) -> Any:
        found = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)), inplace=True)))
        return F.relu(found + (x if self.downsample is None else self.downsample(x)), inplace=True)


class ResNet18(nn.Module):
    """ResNet-18 for small images, with torchvision's names; `width` 64 is the usual one."""

    def __init__(self, width: int = 64, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        inner = width
        for number, factor in enumerate((1, 2, 4, 8), start=1):
            outer = width * factor
            layer = nn.Sequential(Block(inner, outer, 1 if number == 1 else 2), Block(outer, outer, 1))
            setattr(self, f"layer{number}", layer)
            inner = outer
        self.fc = nn.Linear(inner, classes)

    def forward(self, x: Any) -> Any:
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


def _images(channels: int, size: int) -> Callable[[torch.Generator], Any]:
    return lambda g: (
        torch.randn(6, channels, size, size, generator=g),
        torch.randint(0, CLASSES, (6,), generator=g),
    )


def _rows(*shape: int) -> Callable[[torch.Generator], Any]:
    return lambda g: (torch.randn(6, *shape, generator=g), torch.randint(0, CLASSES, (6,), generator=g))


def _cross_entropy(output: Any, target: Any) -> Any:
    return F.cross_entropy(output, target, reduction="none")


def language_loss(model: Any, batch: Any) -> Any:
    tokens = batch["tokens"]
    logits = model(tokens[:, :-1])
    return F.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none").mean(1)


def reconstruction(module: Any, batch: Any) -> Any:
    return (module(batch) - batch).square().sum(1)


def _tokens(g: torch.Generator) -> Any:
    return {"tokens": torch.randint(0, 7, (6, 6), generator=g)}


SAMPLES = {
    "convolutional": Sample(Convolutional, nn.CrossEntropyLoss(), _images(1, 8), _cross_entropy),
    "causal transformer": Sample(Causal, language_loss, _tokens, language_loss),
    "tied embeddings": Sample(lambda: Causal(tied=True), language_loss, _tokens, language_loss),
    "encoder": Sample(Encoder, F.cross_entropy, _rows(4, 8), _cross_entropy),
    "lstm": Sample(Recurrent, nn.CrossEntropyLoss(), _rows(4, 3), _cross_entropy),
    "frozen": Sample(frozen, nn.CrossEntropyLoss(), _rows(5), _cross_entropy),
    "autoencoder": Sample(
        Autoencoder, reconstruction, lambda g: torch.randn(6, 6, generator=g), reconstruction
    ),
    "two outputs": Sample(
        lambda: nn.Sequential(nn.Linear(4, 5), nn.SiLU(), nn.Linear(5, 2)),
        nn.MSELoss(),
        lambda g: (torch.randn(6, 4, generator=g), torch.randn(6, 2, generator=g)),
        lambda output, target: (output - target).square().mean(1),
    ),
    "resnet18": Sample(lambda: ResNet18(2, CLASSES), nn.CrossEntropyLoss(), _images(3, 8), _cross_entropy),
}


def settled(make: Callable[[], Any], seed: int = 0) -> Any:
    """Return a module in evaluation mode, with running statistics that are not those of its start."""
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    module = make().eval()
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.uniform_(-0.5, 0.5)
            layer.running_var.uniform_(0.5, 2.0)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.uniform_(layer.bias, -0.5, 0.5)
    torch.set_rng_state(state)
    return module


def data_of(name: str) -> Any:
    return SAMPLES[name].data(torch.Generator().manual_seed(1))

"""ECG networks as PyTorch users write them, after the published architectures.

resnet1d and xresnet1d: N. Strodthoff et al., Deep Learning for ECG Analysis:
Benchmarks and Insights from PTB-XL, 2021; InceptionTime: H. Ismail Fawaz et al., 2020.
"""

import torch
from torch import nn


class Basic(nn.Module):
    def __init__(self, inputs, outputs, kernel, stride):
        super().__init__()
        pad = kernel // 2
        self.first = nn.Conv1d(inputs, outputs, kernel, stride, pad, bias=False)
        self.norm1 = nn.BatchNorm1d(outputs)
        self.second = nn.Conv1d(outputs, outputs, kernel, 1, pad, bias=False)
        self.norm2 = nn.BatchNorm1d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.down = None
        if stride > 1 or inputs != outputs:
            self.down = nn.Sequential(
                nn.Conv1d(inputs, outputs, 1, stride, bias=False),
                nn.BatchNorm1d(outputs),
            )

    def forward(self, x):
        skip = x if self.down is None else self.down(x)
        y = self.relu(self.norm1(self.first(x)))
        return self.relu(self.norm2(self.second(y)) + skip)


class Resnet1d(nn.Module):
    def __init__(self, classes=5):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv1d(12, 32, 7, 2, 3, bias=False),
            nn.BatchNorm1d(32),
            nn.ReLU(inplace=True),
            nn.MaxPool1d(3, 2, 1),
        )
        self.blocks = nn.Sequential(
            Basic(32, 32, 5, 1), Basic(32, 64, 5, 2), Basic(64, 64, 5, 2)
        )
        self.head = nn.Linear(128, classes)

    def forward(self, x):
        x = self.blocks(self.stem(x))
        pooled = torch.cat([x.mean(-1), x.amax(-1)], dim=1)
        return self.head(pooled)


class XResnet1d(nn.Module):
    """Three stem convolutions and average pooling on the skip path."""

    def __init__(self, classes=5):
        super().__init__()
        stem, inputs = [], 12
        for outputs, stride in ((32, 2), (32, 1), (64, 1)):
            stem += [
                nn.Conv1d(inputs, outputs, 5, stride, 2, bias=False),
                nn.BatchNorm1d(outputs),
                nn.ReLU(),
            ]
            inputs = outputs
        self.stem = nn.Sequential(*stem, nn.MaxPool1d(3, 2, 1))
        self.body = nn.Sequential(
            nn.Conv1d(64, 32, 1, bias=False),
            nn.BatchNorm1d(32),
            nn.ReLU(),
            nn.Conv1d(32, 32, 5, 2, 2, bias=False),
            nn.BatchNorm1d(32),
            nn.ReLU(),
            nn.Conv1d(32, 128, 1, bias=False),
            nn.BatchNorm1d(128),
        )
        self.skip = nn.Sequential(
            nn.AvgPool1d(2, 2), nn.Conv1d(64, 128, 1, bias=False), nn.BatchNorm1d(128)
        )
        self.head = nn.Sequential(nn.Linear(128, 32), nn.ReLU(), nn.Linear(32, classes))

    def forward(self, x):
        x = self.stem(x)
        x = torch.relu(self.body(x) + self.skip(x))
        return self.head(x.mean(-1))


class Inception(nn.Module):
    def __init__(self, inputs, filters=16):
        super().__init__()
        self.narrow = nn.Conv1d(inputs, filters, 1, bias=False)
        self.branches = nn.ModuleList(
            nn.Conv1d(filters, filters, k, padding=k // 2, bias=False)
            for k in (39, 19, 9)
        )
        self.pool = nn.Sequential(
            nn.MaxPool1d(3, 1, 1), nn.Conv1d(inputs, filters, 1, bias=False)
        )
        self.norm = nn.BatchNorm1d(4 * filters)

    def forward(self, x):
        y = self.narrow(x)
        y = torch.cat([*(branch(y) for branch in self.branches), self.pool(x)], dim=1)
        return torch.relu(self.norm(y))


class InceptionTime(nn.Module):
    def __init__(self, classes=5):
        super().__init__()
        self.modules_ = nn.Sequential(Inception(12), Inception(64), Inception(64))
        self.skip = nn.Sequential(nn.Conv1d(12, 64, 1, bias=False), nn.BatchNorm1d(64))
        self.head = nn.Linear(64, classes)

    def forward(self, x):
        x = torch.relu(self.modules_(x) + self.skip(x))
        return self.head(x.mean(-1))


def settle(network, example):
    """Gives the batch norms statistics of their own, of noise."""
    with torch.no_grad():
        network.train()
        for _ in range(3):
            network(torch.randn(16, *example.shape))
        network.eval()


def export(network, example, path):
    """Writes an ONNX file after giving the batch norms statistics of their own."""
    settle(network, example)
    with torch.no_grad():
        torch.onnx.export(
            network, (example[None],), path, dynamo=False, opset_version=17
        )
    return network

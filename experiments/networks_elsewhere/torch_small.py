"""Small PyTorch networks for one-dimensional signals, as users write them.

Beside those of `torch_networks`: temporal convolutions (S. Bai et al., 2018),
MobileNet (A. Howard et al., 2017, 2019), convolutions before a recurrent layer,
U-Net (O. Ronneberger et al., 2015), a transformer's encoder (A. Vaswani et al., 2017).
"""

import torch
from torch import nn

LEADS, TIME, CLASSES = 12, 256, 5


class Causal(nn.Module):
    def __init__(self, inputs, outputs, dilation):
        super().__init__()
        self.pad = nn.ConstantPad1d((2 * dilation, 0), 0.0)
        self.conv = nn.Conv1d(inputs, outputs, 3, dilation=dilation)
        self.skip = nn.Conv1d(inputs, outputs, 1)
        self.drop = nn.Dropout(0.1)

    def forward(self, x):
        return torch.relu(self.drop(self.conv(self.pad(x)).relu()) + self.skip(x))


class TCN(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            Causal(LEADS, 16, 1), Causal(16, 16, 2), Causal(16, 16, 4)
        )
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x):
        return self.head(self.body(x)[:, :, -1])


class Inverted(nn.Module):
    def __init__(self, channels, activation):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(channels, 2 * channels, 1, bias=False),
            nn.BatchNorm1d(2 * channels),
            activation(),
            nn.Conv1d(
                2 * channels,
                2 * channels,
                5,
                padding=2,
                groups=2 * channels,
                bias=False,
            ),
            nn.BatchNorm1d(2 * channels),
            activation(),
            nn.Conv1d(2 * channels, channels, 1, bias=False),
            nn.BatchNorm1d(channels),
        )

    def forward(self, x):
        return x + self.body(x)


class MobileNet(nn.Module):
    """With `view(x.size(0), -1)`, and a pool with `ceil_mode`."""

    def __init__(self, activation=nn.ReLU6):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(LEADS, 16, 5, 2, 2, bias=False),
            nn.BatchNorm1d(16),
            activation(),
            Inverted(16, activation),
            nn.AvgPool1d(3, 2, padding=1, ceil_mode=True),
            Inverted(16, activation),
            nn.AdaptiveAvgPool1d(1),
        )
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x):
        x = self.body(x)
        return self.head(x.view(x.size(0), -1))


class MobileNetV3(MobileNet):
    def __init__(self):
        super().__init__(nn.Hardswish)


class CRNN(nn.Module):
    def __init__(self, recurrent):
        super().__init__()
        self.front = nn.Sequential(
            nn.Conv1d(LEADS, 16, 7, 4, 3),
            nn.BatchNorm1d(16),
            nn.ELU(),
            nn.MaxPool1d(3, 2, ceil_mode=True),
        )
        self.recurrent = recurrent(16, 8, batch_first=True, bidirectional=True)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x):
        y, _ = self.recurrent(self.front(x).permute(0, 2, 1))
        return self.head(y[:, -1])


class CnnLSTM(CRNN):
    def __init__(self):
        super().__init__(nn.LSTM)


class CnnGRU(CRNN):
    def __init__(self):
        super().__init__(nn.GRU)


class UNet(nn.Module):
    """Down and up again, by a transposed convolution and by interpolation."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv1d(LEADS, 8, 5, padding=2), nn.LeakyReLU(0.1))
        self.second = nn.Sequential(nn.Conv1d(8, 16, 5, padding=2), nn.PReLU())
        self.deep = nn.Sequential(nn.Conv1d(16, 16, 3, padding=1), nn.GroupNorm(1, 16))
        self.rise = nn.ConvTranspose1d(16, 16, 2, 2)
        self.join = nn.Conv1d(32, 8, 3, padding=1)
        self.wide = nn.Upsample(scale_factor=2, mode="linear", align_corners=False)
        self.last = nn.Conv1d(16, CLASSES, 1)
        self.pool = nn.MaxPool1d(2)

    def forward(self, x):
        one = self.first(x)
        two = self.second(self.pool(one))
        deep = torch.relu(self.deep(self.pool(two)))
        two = torch.relu(self.join(torch.cat([self.rise(deep), two], 1)))
        return self.last(torch.cat([self.wide(two), one], 1)).mean(-1)


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Conv1d(LEADS, 16, 16, 16)
        self.place = nn.Parameter(torch.randn(1, TIME // 16, 16))
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Sequential(nn.LayerNorm(16), nn.GELU(), nn.Linear(16, CLASSES))

    def forward(self, x):
        tokens = self.embed(x).transpose(1, 2) + self.place
        return self.head(self.encoder(tokens).mean(1))


class Half(nn.Module):
    """Weights kept in 16 bits and widened where they are used."""

    def __init__(self):
        super().__init__()
        self.register_buffer("w", (torch.randn(LEADS * TIME, 16) / 16).half())
        self.register_buffer("v", (torch.randn(16, CLASSES) / 4).half())

    def forward(self, x):
        hidden = x.flatten(1) @ self.w.float()
        hidden = torch.where(hidden > 0, hidden, 0.2 * hidden)
        return hidden.clamp(-1.0, 6.0) @ self.v.float()

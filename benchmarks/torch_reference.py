"""The backbones in idiomatic PyTorch, against which `backbones.py` times this library.

Channels first, eager, oneDNN or cuDNN behind `nn.Conv2d` and `nn.Conv3d`. Modules are named so that
`vreid_jax.pretrained.from_torch` accepts their state dicts. Every network takes [B, 3, T, H, W] and returns its pooled features [B, C].
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

WIDTHS = (64, 128, 256, 512)
SIZES = (3, 4, 6, 3)


class C3D(nn.Module):
    """Eight 3x3x3 convolutions and four of the five pools; the fifth comes after the features averaged here."""

    GROUPS = (("conv1",), ("conv2",), ("conv3a", "conv3b"), ("conv4a", "conv4b"), ("conv5a", "conv5b"))
    FEATURES = (64, 128, 256, 512, 512)

    def __init__(self):
        super().__init__()
        before = 3
        for names, features in zip(self.GROUPS, self.FEATURES, strict=True):
            for name in names:
                setattr(self, name, nn.Conv3d(before, features, 3, padding=1))
                before = features
        self.features = before

    def forward(self, x):
        """Return conv5b, averaged."""
        for number, names in enumerate(self.GROUPS):
            for name in names:
                x = F.relu(getattr(self, name)(x))
            if number < 4:
                x = F.max_pool3d(x, (1, 2, 2) if number == 0 else 2)
        return x.mean((2, 3, 4))


def same_pad(x, window, strides):
    """Pad with zeros as TensorFlow's SAME does; after a ReLU they do not change a maximum."""
    border = []
    for size, taps, stride in zip(reversed(x.shape[2:]), reversed(window), reversed(strides), strict=True):
        missing = max((-(-size // stride) - 1) * stride + taps - size, 0)
        border += [missing // 2, missing - missing // 2]
    return F.pad(x, border) if any(border) else x


class Unit(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, before, features, window=(1, 1, 1), strides=(1, 1, 1)):
        super().__init__()
        self.window, self.strides = window, strides
        self.conv3d = nn.Conv3d(before, features, window, strides, bias=False)
        self.bn = nn.BatchNorm3d(features, eps=1e-3)

    def forward(self, x):
        """Return sizes divided by the strides, rounded up."""
        return F.relu(self.bn(self.conv3d(same_pad(x, self.window, self.strides))))


class Inception(nn.Module):
    """Four branches, concatenated."""

    def __init__(self, before, features):
        super().__init__()
        a, b, c, d, e, f = features
        cube = (3, 3, 3)
        self.b0 = Unit(before, a)
        self.b1a, self.b1b = Unit(before, b), Unit(b, c, cube)
        self.b2a, self.b2b = Unit(before, d), Unit(d, e, cube)
        self.b3b = Unit(before, f)

    def forward(self, x):
        """Return the sum of the branches' channels."""
        pooled = F.max_pool3d(x, 3, 1, 1)
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled)], 1)


class I3D(nn.Module):
    """Inception-v1 over space and time, to Mixed_5c."""

    MIXED = (
        ("3b", (64, 96, 128, 16, 32, 32)),
        ("3c", (128, 128, 192, 32, 96, 64)),
        ("4b", (192, 96, 208, 16, 48, 64)),
        ("4c", (160, 112, 224, 24, 64, 64)),
        ("4d", (128, 128, 256, 24, 64, 64)),
        ("4e", (112, 144, 288, 32, 64, 64)),
        ("4f", (256, 160, 320, 32, 128, 128)),
        ("5b", (256, 160, 320, 32, 128, 128)),
        ("5c", (384, 192, 384, 48, 128, 128)),
    )
    POOLS: ClassVar = {"3b": ((1, 3, 3), (1, 2, 2)), "4b": ((3, 3, 3), (2, 2, 2)), "5b": ((2, 2, 2), (2, 2, 2))}

    def __init__(self):
        super().__init__()
        self.Conv3d_1a_7x7 = Unit(3, 64, (7, 7, 7), (2, 2, 2))
        self.Conv3d_2b_1x1 = Unit(64, 64)
        self.Conv3d_2c_3x3 = Unit(64, 192, (3, 3, 3))
        before = 192
        for name, features in self.MIXED:
            setattr(self, f"Mixed_{name}", Inception(before, features))
            before = features[0] + features[2] + features[4] + features[5]
        self.features = before

    def forward(self, x):
        """Return Mixed_5c, averaged."""
        x = self._pool(self.Conv3d_1a_7x7(x), (1, 3, 3), (1, 2, 2))
        x = self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(x))
        for name, _ in self.MIXED:
            if name in self.POOLS:
                x = self._pool(x, *self.POOLS[name])
            x = getattr(self, f"Mixed_{name}")(x)
        return x.mean((2, 3, 4))

    @staticmethod
    def _pool(x, window, strides):
        return F.max_pool3d(same_pad(x, window, strides), window, strides)


class SpaceTime(nn.Module):
    """Mixin with the convolutions that replace those of a 2-D ResNet; `number` is the one in tensor names."""

    def add(self, number, kind, before, features, size, length, stride, temporal_stride):
        """Create them."""
        s, t, half = stride, temporal_stride, size // 2
        self.number, self.kind, self.temporal_stride = number, kind, t
        frames = {"padding": (0, half, half), "bias": False}
        time = {"padding": (1, 0, 0), "bias": False}
        if kind == "inflated":
            border = (length // 2, half, half)
            conv, conv_t = nn.Conv3d(before, features, (length, size, size), (t, s, s), border, bias=False), None
        elif kind == "separable":
            conv = nn.Conv3d(before, features, (1, size, size), (1, s, s), **frames)
            conv_t = nn.Conv3d(before, before, (3, 1, 1), (t, 1, 1), **time)
        elif kind == "p3d_b":
            conv = nn.Conv3d(before, features, (1, size, size), (t, s, s), **frames)
            conv_t = nn.Conv3d(before, features, (3, 1, 1), (t, s, s), **time)
        else:
            conv = nn.Conv3d(before, features, (1, size, size), (1, s, s), **frames)
            conv_t = nn.Conv3d(features, features, (3, 1, 1), (t, 1, 1), **time)
        setattr(self, f"conv{number}", conv)
        setattr(self, f"bn{number}", nn.BatchNorm3d(features))
        if conv_t is not None:
            setattr(self, f"conv{number}_t", conv_t)
            if kind != "separable":
                setattr(self, f"bn{number}_t", nn.BatchNorm3d(features))

    def space_time(self, x):
        """Apply them."""
        parts = [getattr(self, f"{name}{self.number}{t}", None) for t in ("", "_t") for name in ("conv", "bn")]
        conv, bn, conv_t, bn_t = parts
        if self.kind == "inflated":
            return F.relu(bn(conv(x)))
        if self.kind == "separable":
            return F.relu(bn(conv(conv_t(x))))
        if self.kind == "p3d_b":
            return F.relu(bn(conv(x))) + F.relu(bn_t(conv_t(x)))
        y = F.relu(bn(conv(x)))
        z = F.relu(bn_t(conv_t(y)))
        if self.kind == "p3d_a":
            return z
        return z + (F.avg_pool3d(y, (self.temporal_stride, 1, 1)) if self.temporal_stride > 1 else y)


class Bottleneck3d(SpaceTime):
    """A bottleneck over clips."""

    def __init__(self, kind, before, width, stride, temporal_stride, project):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv3d(before, width, 1, bias=False), nn.BatchNorm3d(width)
        self.add(2, kind, width, width, 3, 3, stride, temporal_stride)
        self.conv3, self.bn3 = nn.Conv3d(width, 4 * width, 1, bias=False), nn.BatchNorm3d(4 * width)
        self.downsample = None
        if project:
            strides = (temporal_stride, stride, stride)
            conv = nn.Conv3d(before, 4 * width, 1, strides, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm3d(4 * width))

    def forward(self, x):
        """Add branch and shortcut."""
        y = self.bn3(self.conv3(self.space_time(F.relu(self.bn1(self.conv1(x))))))
        return F.relu(y + (self.downsample(x) if self.downsample else x))


class NonLocal(nn.Module):
    """The embedded Gaussian block."""

    def __init__(self, channels):
        super().__init__()
        self.theta, self.phi, self.g = (nn.Conv3d(channels, channels // 2, 1) for _ in range(3))
        self.W = nn.Sequential(nn.Conv3d(channels // 2, channels, 1), nn.BatchNorm3d(channels))
        nn.init.zeros_(self.W[1].weight)

    def forward(self, x):
        """Add to every position what it attends to."""
        theta, phi, g = (f(x).flatten(2) for f in (self.theta, self.phi, self.g))
        weights = torch.softmax(theta.transpose(1, 2) @ phi, -1)
        y = (weights @ g.transpose(1, 2)).transpose(1, 2).reshape(len(x), -1, *x.shape[2:])
        return x + self.W(y)


class ResNet3d(SpaceTime):
    """ResNet-50 over clips; `strides` in time of stem, pool and stages."""

    def __init__(self, kind, stem_length=3, strides=(1, 1, 1, 2, 2, 2), non_local_after=None):
        super().__init__()
        self.add(1, "inflated" if kind == "separable" else kind, 3, 64, 7, stem_length, 2, strides[0])
        self.pool = nn.MaxPool3d(3, (strides[1], 2, 2), 1)
        self.order, before = [], 64
        for stage, (width, blocks) in enumerate(zip(WIDTHS, SIZES, strict=True)):
            layer = nn.ModuleList()
            for block in range(blocks):
                stride, temporal = (2 if stage else 1, strides[stage + 2]) if block == 0 else (1, 1)
                layer.append(Bottleneck3d(kind, before, width, stride, temporal, block == 0))
                before = 4 * width
                self.order.append((f"layer{stage + 1}", block))
                if block in (non_local_after or {}).get(f"res{stage + 2}", ()):
                    self.order.append((f"non_local{stage + 1}_{block}", None))
                    setattr(self, self.order[-1][0], NonLocal(before))
            setattr(self, f"layer{stage + 1}", layer)
        self.features = before

    def forward(self, x):
        """Return the last stage, averaged."""
        x = self.pool(self.space_time(x))
        for name, block in self.order:
            module = getattr(self, name)
            x = (module if block is None else module[block])(x)
        return x.mean((2, 3, 4))


class M3D(nn.Module):
    """Dilated temporal convolutions of frames [B T, C, H, W], added to them."""

    def __init__(self, channels, length, scales, stride=1, released=False):
        super().__init__()
        self.length, self.stride, self.released, self.scales = length, stride, released, scales
        for i in range(1, scales + 1):
            conv = nn.Conv3d(channels, channels, (3, 1, 1), (stride, 1, 1), (i, 0, 0), (i, 1, 1), bias=False)
            setattr(self, f"conv{i}", conv)
            setattr(self, f"bn{i}", nn.BatchNorm3d(channels))

    def forward(self, x):
        """Return frames, half of them with stride 2."""
        clips = x.unflatten(0, (-1, self.length)).transpose(1, 2)
        y = clips if self.stride == 1 else F.avg_pool3d(clips, (2, 1, 1))
        for i in range(1, self.scales + 1):
            z = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(clips))
            y = y + (F.relu(z) if self.released else z)
        return y.transpose(1, 2).flatten(0, 1)


class ResidualAttention(nn.Module):
    """The product of spatial, channel and temporal masks over frames [B T, C, H, W]."""

    def __init__(self, channels, length, released=False):
        super().__init__()
        self.length, self.released = length, released
        self.conv1_s, self.conv2_s = nn.Conv2d(channels, 1, 3, padding=1, bias=False), nn.Conv2d(1, 1, 1, bias=False)
        self.bn_s = nn.BatchNorm2d(1)
        for name, size, hidden in (("c", channels, channels // 16), ("t", length, 2 * length)):
            setattr(self, f"conv1_{name}", nn.Conv2d(size, hidden, 1, bias=False))
            setattr(self, f"conv2_{name}", nn.Conv2d(hidden, size, 1, bias=False))
            setattr(self, f"bn_{name}", nn.BatchNorm2d(hidden))

    def forward(self, x):
        """Return x / 2 + M x."""
        clips = x.unflatten(0, (-1, self.length))
        spatial = self._branch("s", clips.mean(1))[:, None]
        channel = self._branch("c", clips.mean((1, 3, 4))[..., None, None])[:, None]
        channel = F.relu(channel) if self.released else channel
        temporal = self._branch("t", clips.mean((2, 3, 4))[..., None, None])[:, :, None]
        return (clips * (0.5 + torch.sigmoid(spatial * channel * temporal))).flatten(0, 1)

    def _branch(self, name, x):
        conv1, conv2, bn = (getattr(self, f"{part}_{name}") for part in ("conv1", "conv2", "bn"))
        return conv2(bn(F.relu(conv1(x))) if self.released else F.relu(bn(conv1(x))))


class Bottleneck2d(nn.Module):
    """A bottleneck over frames, with or without an M3D layer after its middle convolution."""

    def __init__(self, before, width, stride, project, m3d=None):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(before, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.conv2_t, self.downsample = m3d, None
        if project:
            conv = nn.Conv2d(before, 4 * width, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(4 * width))

    def forward(self, x):
        """Add branch and shortcut, which is averaged over pairs of frames if the layer strides time."""
        y = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        y = self.bn3(self.conv3(self.conv2_t(y) if self.conv2_t else y))
        shortcut = self.downsample(x) if self.downsample else x
        if len(shortcut) > len(y):
            shortcut = shortcut.unflatten(0, (-1, 2)).mean(1)
        return F.relu(y + shortcut)


class ResNet2d(nn.Module):
    """ResNet-50 over frames, or with `m3d` the M3D network with attention and temporal stride 2 in stages 2-4."""

    def __init__(self, last_stride=1, m3d=False, released=False, length=8):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        self.conv1_t = M3D(64, length, self._scales(length, released), 1, released) if m3d else None
        self.m3d, self.length, before = m3d, length, 64
        for stage, (width, blocks) in enumerate(zip(WIDTHS, SIZES, strict=True)):
            layer = nn.Sequential()
            for block in range(blocks):
                first, added = block == 0, None
                if first and m3d:
                    stride = 2 if stage else 1
                    added = M3D(width, length, self._scales(length, released), stride, released)
                    length //= stride
                stride = (1, 2, 2, last_stride)[stage] if first else 1
                layer.append(Bottleneck2d(before, width, stride, first, added))
                before = 4 * width
            setattr(self, f"layer{stage + 1}", layer)
            if m3d and stage < 3:
                setattr(self, f"attention{stage + 1}", ResidualAttention(before, length, released))
        self.features = before

    @staticmethod
    def _scales(length, released):
        return max(1, length.bit_length() - 1 if released else (length - 1) // 2)

    def forward(self, x):
        """Return the last stage, averaged."""
        batch = len(x)
        x = F.relu(self.bn1(self.conv1(x.transpose(1, 2).flatten(0, 1))))
        x = F.max_pool2d(self.conv1_t(x) if self.conv1_t else x, 3, 2, 1)
        for stage in range(1, 5):
            x = getattr(self, f"layer{stage}")(x)
            if self.m3d and stage < 4:
                x = getattr(self, f"attention{stage}")(x)
        return x.unflatten(0, (batch, -1)).mean((1, 3, 4))


def create(name: str, **fields) -> nn.Module:
    """Return the counterpart of `models.create(name)` at the paper's size."""
    if name in ("c3d", "i3d_inception_v1"):
        return {"c3d": C3D, "i3d_inception_v1": I3D}[name]()
    if name == "resnet50":
        return ResNet2d()
    if name == "resnet50_m3d":
        return ResNet2d(last_stride=2, m3d=True, **fields)
    if name == "resnet3d_50":
        return ResNet3d("inflated", 7, (1, 2, 1, 2, 2, 2))
    if name == "resnet50_separable":
        return ResNet3d("separable", 7, non_local_after=fields.get("non_local_after"))
    return ResNet3d({"resnet50_i3d": "inflated"}.get(name, name.removeprefix("resnet50_")), 3)

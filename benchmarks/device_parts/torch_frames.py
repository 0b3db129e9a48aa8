"""ResNet-50 on frames in PyTorch, through `torch.compile`, channels last: a training step and inference."""

from __future__ import annotations

import statistics
import time

from device_parts.measuring import Run


def measure(run: Run) -> None:
    """Write frames a second of the network with a classifier; nothing where PyTorch is not installed."""
    try:
        import torch
        from torch_reference import create
    except ImportError as error:
        run.write("PyTorch", error=f"not installed: {error}")
        return
    gpu = torch.cuda.is_available()
    device = torch.device("cuda" if gpu else "cpu")
    count = 2 if run.smoke else 512
    height, width = (32, 16) if run.smoke else (256, 128)
    network = create("resnet50").to(device).to(memory_format=torch.channels_last)
    head = torch.nn.Linear(network.features, 625).to(device)
    # The reference takes clips and folds them to frames itself.
    frames = torch.randn(count, 3, 1, height, width, device=device)
    labels = torch.arange(count, device=device) % 625
    params = [*network.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(params, 3.5e-4)
    apply = torch.compile(network) if gpu else network

    def autocast():
        return torch.autocast(device.type, torch.bfloat16)

    def train():
        optimizer.zero_grad(set_to_none=True)
        with autocast():
            logits = head(apply(frames))
        torch.nn.functional.cross_entropy(logits.float(), labels).backward()
        optimizer.step()

    def inference():
        with torch.no_grad(), autocast():
            apply(frames)

    for what, call in (("inference", inference), ("train", train)):
        with run.case(f"resnet50 on frames, {what}"):
            network.train(what == "train")
            started = time.perf_counter()
            call()
            wait(torch, gpu)
            first, times = time.perf_counter() - started, []
            call()
            for _ in range(2 if run.smoke else 5):
                wait(torch, gpu)
                started = time.perf_counter()
                call()
                wait(torch, gpu)
                times.append(time.perf_counter() - started)
            ms = 1000 * statistics.median(times)
            run.write(
                f"resnet50 on frames, {what}, PyTorch {torch.__version__}",
                frames=count,
                ms=round(ms, 2),
                frames_s=round(1000 * count / ms),
                first_s=round(first, 1),
            )


def wait(torch, gpu: bool) -> None:
    """Wait until everything is computed."""
    if gpu:
        torch.cuda.synchronize()

"""Reading a compiled program: the bytes it moves, and the convolutions that no kernel of the card takes well."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator

LARGEST_WINDOW = 400
"""Taps of a cuDNN forward call; with more, its filter is an output gradient."""
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*?)\)(.*)$")
_SHAPE = re.compile(r"\b(pred|[a-z]+\d+\w*)\[([\d,]*)\]")
_BITS = {"pred": 8}
_FREE = {"parameter", "constant", "bitcast", "tuple", "get-tuple-element", "after-all", "partition-id", "iota"}
_CALLING = {"while": "body", "call": "to_apply", "conditional": "branch_computations", "async-start": "calls"}


def size_of(shape: str) -> int:
    """Return the bytes of a shape as programs print it, tuples included."""
    total = 0
    for kind, extents in _SHAPE.findall(shape):
        bits = _BITS.get(kind) or int(re.sub(r"\D*(\d+).*", r"\1", kind))
        total += math.prod(int(n) for n in extents.split(",") if n) * bits // 8
    return total


def instructions(program: str) -> Iterator[tuple[str, str, str, str, str, str, bool]]:
    """Yield (computation, name, shape, operation, operands, the rest of the line, whether it is of the entry)."""
    computation, entry = "", False
    for line in program.splitlines():
        if line.endswith("{") and " = " not in line.split("(")[0]:
            entry = line.startswith("ENTRY")
            computation = line.removeprefix("ENTRY ").split(" ")[0].lstrip("%")
        elif found := _INSTRUCTION.match(line):
            yield computation, *found.groups(), entry


def bytes_moved(program: str) -> int:
    """Return what the operations of a program read and write, each from and to memory; loops count as often as they run.

    Caches are left out, and so is that an operation may read a part of an operand only.
    """
    parts: dict[str, list] = {}
    root = ""
    for computation, name, shape, operation, operands, rest, entry in instructions(program):
        parts.setdefault(computation, []).append((name, shape, operation, operands, rest))
        root = computation if entry else root

    def of(computation: str) -> int:
        total, sizes = 0, {}
        for name, shape, operation, operands, rest in parts.get(computation, ()):
            sizes[name] = size_of(shape)
            if operation in _CALLING:
                trips = re.search(r'known_trip_count":\{"n":"(\d+)"', rest)
                called = re.findall(rf"{_CALLING[operation]}=\{{?%?([\w.\-]+)", rest)
                total += int(trips[1] if trips else 1) * sum(map(of, called))
            elif operation not in _FREE:
                total += sizes[name] + sum(sizes.get(each, 0) for each in re.findall(r"%([\w.\-]+)", operands))
        return total

    return of(root)


def calls(program: str) -> Counter:
    """Return how many calls of each library function a program has, and how many convolutions of XLA's own."""
    found = Counter()
    for _, _, _, operation, _, rest, _ in instructions(program):
        if operation == "custom-call":
            found[re.search(r'custom_call_target="([^"]*)"', rest)[1]] += 1
        elif operation == "convolution":
            found[operation] += 1
    return found


def badly_taken(program: str, before_hopper: bool) -> list[str]:
    """Return a sentence for each operation that no kernel of an NVIDIA card takes well.

    Args:
      program: compiled for such a card.
      before_hopper: whether the card has no channels-last form of 3-D convolutions.
    """
    found = []
    for _, _, shape, operation, _, rest, _ in instructions(program):
        where = re.search(r'op_name="([^"]*)"', rest)
        at = f"{shape.strip('(').split('{')[0]} at {where[1] if where else '?'}"
        window = re.search(r"window=\{size=([\dx]+)", rest)
        if operation == "custom-call" and "__cudnn$conv" in rest and window:
            taps = [int(n) for n in window[1].split("x")]
            if re.search(r"__cudnn\$conv\w*Forward", rest) and math.prod(taps) > LARGEST_WINDOW:
                found.append(f"a gradient to a kernel as a forward convolution with a window of {window[1]}: {at}")
            elif before_hopper and len(taps) == 3 and 1 in taps:
                found.append(f"a kernel of {window[1]} as a 3-D convolution: {at}")
        elif operation == "convolution":
            found.append(f"a convolution that cuDNN does not take: {at}")
        elif operation == "select-and-scatter" or (operation == "scatter" and "select_and_scatter" in rest):
            found.append(f"a scatter for the gradient of a max-pool: {at}")
    return found

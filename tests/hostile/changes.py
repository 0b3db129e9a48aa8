"""Changes of values, texts, bytes and folders, all drawn from a generator."""

import json
import math
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

NUMBERS = (0, -1, 1, 2, 3, 7, 2**31 - 1, 2**31, 2**32, 2**63, 10**24, -(10**24), 10**30, 1_000_000, 60_000, 0.0, -0.0, 0.5, 1.5, -0.5, 1e-30, 1e30, 1e300, 1e308)  # fmt: skip
NO_NUMBERS = (math.nan, math.inf, -math.inf)
TEXTS = ("", "a", "three", "1", "1_0_1", "²", "0x10", "nan", "None", "é", "\ufeffa", "\0", "a\0b", "a\nb", "~nouser", "~nouser/x", "../..", "/dev/null", "/proc/self/mem", ".", "(", "[", "*", ".*", "a{99999999999}", "(" * 500, "hf://a/b", "a" * 300, "/" + "b/" * 3000, "c" * 100_000)  # fmt: skip
JSON_VALUES = (None, True, False, *NUMBERS, *NO_NUMBERS, *TEXTS, [], [None], [1, "a"], {}, {"a": 1}, [[[]]])
LONG_INTEGER = "9" * 5000


def value(rng: random.Random, like: Any = None) -> Any:
    """Return a value that a field hardly expects; half of the time built like the one it has."""
    if isinstance(like, list | tuple) and like and rng.random() < 0.6:
        parts = list(like)
        place = rng.randrange(len(parts))
        action = rng.choice(("change", "drop", "double", "wrap"))
        if action == "change":
            parts[place] = value(rng, parts[place])
        elif action == "drop":
            del parts[place]
        elif action == "double":
            parts.insert(place, parts[place])
        else:
            parts[place] = type(like)([parts[place]])
        return type(like)(parts)
    if isinstance(like, dict) and like and rng.random() < 0.7:
        parts = dict(like)
        name = rng.choice(list(parts))
        if rng.random() < 0.3:
            parts[rng.choice(TEXTS)] = parts.pop(name)
        else:
            parts[name] = value(rng, parts[name])
        return parts
    if isinstance(like, int | float) and not isinstance(like, bool) and rng.random() < 0.5:
        return rng.choice((*NUMBERS, *NO_NUMBERS))
    if isinstance(like, str) and rng.random() < 0.3:
        return text(rng, like)
    return rng.choice(JSON_VALUES)


def text(rng: random.Random, good: str) -> str:
    """Change a text: a number or a word of it, a character, a line."""
    if not good:
        return rng.choice(TEXTS)
    place = rng.randrange(len(good))
    return rng.choice(
        (
            lambda: good[:place] + rng.choice(TEXTS) + good[place:],
            lambda: good[:place],
            lambda: good[:place] + good[place + 1 :],
            lambda: good + good,
            lambda: good[:place] + chr(rng.choice((0, 9, 10, 0x2028, 0xFEFF, 0x1F600))) + good[place + 1 :],
        )
    )()


def json_text(rng: random.Random, good: str) -> tuple[str, str]:
    """Change one value anywhere in a JSON text; return the new text and what was done."""
    tree = json.loads(good)
    path, at = [], tree
    while isinstance(at, dict | list) and at and (not path or rng.random() < 0.8):
        key = rng.choice(list(at)) if isinstance(at, dict) else rng.randrange(len(at))
        path.append(key)
        at = at[key]
    if not path or rng.random() < 0.05:
        whole = rng.choice(
            ("", "null", "[]", "3", '"a"', "{", "{}", "[" * 100_000, LONG_INTEGER, "NaN", "\ufeff" + good)
        )
        return whole, f"the whole is {whole[:30]!r}"
    above = tree
    for key in path[:-1]:
        above = above[key]
    name = ".".join(map(str, path))
    if isinstance(above, dict) and rng.random() < 0.2:
        del above[path[-1]]
        return json.dumps(tree), f"{name} removed"
    above[path[-1]] = value(rng, at)
    done = f"{name} = {str(above[path[-1]])[:60]!r}"
    if rng.random() < 0.05:
        above[path[-1]] = "@@"
        return json.dumps(tree).replace('"@@"', LONG_INTEGER), f"{name} = an integer of 5000 digits"
    return json.dumps(tree), done


def content(rng: random.Random, good: bytes) -> tuple[bytes, str]:
    """Change bytes: bits, stretches of zeros, the length."""
    if not good:
        return rng.randbytes(rng.randrange(1, 100)), "bytes in an empty file"
    place, size = rng.randrange(len(good)), rng.choice((1, 2, 4, 8, 64, 512))
    action = rng.choice(("bit", "bit", "bit", "byte", "zeros", "noise", "cut", "longer", "gap", "double", "empty"))
    bit = 1 << rng.randrange(8)
    changed = {
        "bit": lambda: good[:place] + bytes([good[place] ^ bit]) + good[place + 1 :],
        "byte": lambda: good[:place] + bytes([rng.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF))]) + good[place + 1 :],
        "zeros": lambda: good[:place] + bytes(len(good[place : place + size])) + good[place + size :],
        "noise": lambda: good[:place] + rng.randbytes(len(good[place : place + size])) + good[place + size :],
        "cut": lambda: good[:place],
        "longer": lambda: good + rng.randbytes(size),
        "gap": lambda: good[:place] + good[place + size :],
        "double": lambda: good[:place] + good[place : place + size] + good[place:],
        "empty": lambda: b"",
    }[action]()
    return changed, f"{action} at byte {place} of {len(good)}, size {size}, bit {bit}"


def file_content(rng: random.Random, path: Path) -> str:
    """Change the bytes of a file; return what was done."""
    changed, done = content(rng, path.read_bytes())
    path.write_bytes(changed)
    return f"{path.name}: {done}"


def files_below(folder: Path) -> list[Path]:
    """Return all files below a folder, in an order that is always the same."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def place(rng: random.Random, path: Path) -> str:
    """Change what lies at a path: gone, a folder, a pipe, a link in a circle, to nowhere or to a device, another name."""
    if path.is_dir():
        aside = path.with_name("aside")
        path.rename(aside)
    else:
        path.unlink()
        aside = None

    def link(target: Any) -> Callable[[], None]:
        return lambda: path.symlink_to(target)

    kinds: dict[str, Callable[[], Any]] = {
        "gone": lambda: None,
        "a folder": path.mkdir,
        "an empty file": path.touch,
        "a pipe": lambda: os.mkfifo(path),
        "a link in a circle": link(path.name),
        "a link to nowhere": link("nowhere"),
        "a link to a device": link("/dev/zero"),
        "a link to the folder above": link("."),
    }
    if aside is not None:
        names = (
            "²",
            "-1",
            "0",
            "9" * 60,
            "a" * 250,
            "c999999999999999999999_x",
            os.fsdecode(b"\xff\xfe"),
            "1 ",
            "c1_\n",
            "C1_x",
        )
        kinds |= {f"called {name!r}": lambda name=name: aside.rename(path.with_name(name)) for name in names}
    kind = rng.choice(sorted(kinds))
    kinds[kind]()
    return f"{path.name}: {kind}"


def file_or_place(rng: random.Random, folder: Path) -> str:
    """Change the content of a file below a folder, or what lies at a path."""
    if rng.random() < 0.7:
        return file_content(rng, rng.choice(files_below(folder)))
    return place(rng, rng.choice(sorted(folder.rglob("*"))))

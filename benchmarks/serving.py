"""How fast `vreid serve` answers many users at once, over loopback, with vectors that are drawn.

    python benchmarks/serving.py --tracklets=100000 --users=50 --seconds=20

A process of its own serves; each user is a thread that asks for the nearest of another tracklet as soon as it has the
answer to the last one. Printed are searches a second and the latency that 50, 90 and 99 of 100 searches stay within,
for searches alone and for searches with the twenty pictures of their answer.
"""

import argparse
import contextlib
import http.client
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from pathlib import Path

import cv2
import numpy as np

from vreid_jax.search.gallery import make_table, pyarrow

MOST_USERS, MOST_SECONDS, MOST_SEARCHES = 200, 120, 50_000
FOLDERS = 200  # of pictures, which tracklets share


def main() -> None:
    """Write a gallery, serve it, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tracklets", type=int, default=100_000)
    parser.add_argument("--dimensions", type=int, default=768, help="768 is the model in the box")
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each of the two parts")
    flags = parser.parse_args()
    if not (0 < flags.users <= MOST_USERS and 0 < flags.seconds <= MOST_SECONDS):
        raise SystemExit(f"at most {MOST_USERS} users and {MOST_SECONDS} seconds")
    with tempfile.TemporaryDirectory() as folder:
        gallery = write_gallery(Path(folder), flags.tracklets, flags.dimensions)
        began = time.monotonic()
        with served(gallery) as port:
            print(f"{flags.tracklets} x {flags.dimensions} served after {time.monotonic() - began:.1f} s")
            for users in (1, flags.users):
                ask(port, 1, flags.tracklets, 2.0, pictures=False)  # compiles
                ask(port, users, flags.tracklets, 3.0, pictures=False)
                report("searches", users, ask(port, users, flags.tracklets, flags.seconds, pictures=False))
            report("with pictures", users, ask(port, users, flags.tracklets, flags.seconds, pictures=True))


def write_gallery(folder: Path, count: int, dimensions: int) -> Path:
    """Write a gallery of drawn unit vectors; pictures are those of `FOLDERS` folders."""
    rng = np.random.default_rng(0)
    folders = []
    for number in range(FOLDERS):
        place = folder / "frames" / f"track{number:04d}"
        place.mkdir(parents=True)
        for frame in range(8):
            cv2.imwrite(str(place / f"{frame:06d}.jpg"), rng.integers(0, 256, (128, 64, 3), dtype=np.uint8))
        folders.append(str(place))
    vectors = rng.normal(size=(count, dimensions)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    columns = {
        "tracklet_id": [name(row) for row in range(count)], "pid": [0] * count, "camid": (1 + np.arange(count) % 4).tolist(),
        "split": [""] * count, "num_frames": [8] * count, "first_frame": [1] * count, "last_frame": [8] * count,
        "start_seconds": np.arange(count, dtype=float).tolist(), "end_seconds": (np.arange(count) + 2.0).tolist(),
        "folder": [folders[row % FOLDERS] for row in range(count)], "model": ["drawn"] * count,
    }  # fmt: skip
    about = {"model": "drawn", "fingerprint": "drawn", "metric": "cosine", "open_set": None, "input": "drawn"}
    path = folder / "drawn.parquet"
    pyarrow().parquet.write_table(make_table(vectors, columns, about), path)
    return path


def name(row: int) -> str:
    """Return the name of a tracklet."""
    return f"track{row:06d}"


@contextlib.contextmanager
def served(gallery: Path):
    """Serve the gallery in a process of its own while the block runs; yield the port."""
    command = [sys.executable, "-m", "vreid_jax.cli.command", "serve", str(gallery), "--port=0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    said: list[str] = []
    try:
        for line in process.stderr:
            if found := re.search(r"serving on http://127.0.0.1:(\d+)/", line):
                break
            said.append(line)
        else:
            raise SystemExit("the server did not start: " + "".join(said[-3:]))
        yield int(found[1])
    finally:
        process.terminate()
        process.wait()


def ask(port: int, users: int, count: int, seconds: float, *, pictures: bool) -> list[float]:
    """Return how long each search took, seconds."""
    took: list[float] = []
    until = time.monotonic() + seconds

    def user(number: int) -> None:
        rng = np.random.default_rng(number)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        while time.monotonic() < until and len(took) < MOST_SEARCHES:
            began = time.monotonic()
            query = {"gallery": "drawn.parquet", "tracklet": name(int(rng.integers(count)))}
            found = json.loads(get(connection, "/api/search", query))["found"]
            assert len(found) == 20
            for each in found if pictures else []:
                get(connection, "/api/picture", {"gallery": each["gallery"], "tracklet": each["tracklet"]})
            took.append(time.monotonic() - began)
        connection.close()

    threads = [threading.Thread(target=user, args=(number,)) for number in range(users)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return took


def get(connection: http.client.HTTPConnection, path: str, query: dict[str, str]) -> bytes:
    """Return the body of an answer."""
    connection.request("GET", f"{path}?{urllib.parse.urlencode(query)}")
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise SystemExit(f"{path}: {answer.status} {body[:200]!r}")
    return body


def report(what: str, users: int, took: list[float]) -> None:
    """Print one line."""
    p50, p90, p99 = (1000 * float(np.percentile(took, share)) for share in (50, 90, 99))
    rate = len(took) / (sum(took) / users)
    print(
        f"{what}, {users} users: {len(took)} searches, {rate:.1f} a second, p50 {p50:.0f} ms, p90 {p90:.0f} ms, p99 {p99:.0f} ms"
    )


if __name__ == "__main__":
    main()

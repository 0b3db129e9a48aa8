"""Two galleries of coloured people, linked, and a server of them in a thread; its model embeds the mean colour."""

import contextlib
import http.client
import json
import re
import threading
import time
import urllib.parse
from pathlib import Path

import cv2
import numpy as np
import pytest

from vreid_jax.linking.identities import Identities, write_identities
from vreid_jax.search.gallery import make_table, pyarrow

COLOURS = np.array([[200, 40, 40], [40, 180, 60], [50, 60, 210], [190, 190, 60], [120, 40, 150]], np.uint8)
OPEN_SET = {
    "protocol": "toy", "metric": "euclidean", "false_accept_rate": [0.01], "threshold": [0.2], "true_accept_rate": [0.9],
}  # fmt: skip
ABOUT = {"model": "toy", "fingerprint": "f", "metric": "euclidean", "open_set": OPEN_SET, "dataset": "walkers/small"}


class MeanColour:
    """What stands in for a model."""

    def embed(self, frames):
        return np.asarray(frames, np.float32).mean((0, 1, 2)) / 255


def write_gallery(root: Path, name: str, camera: int, *, people=range(5), second: float = 0.0, **about) -> Path:
    """Write a gallery with a tracklet for each person, two seconds long, three seconds after each other."""
    folders = []
    rng = np.random.default_rng(camera)
    for person in people:
        folder = root / f"{name}.frames" / f"track{person:04d}"
        folder.mkdir(parents=True)
        for number in range(1, 5):
            picture = np.full((96, 48, 3), 90, np.uint8)
            picture[8:92, 8 + 4 * number : 28 + 4 * number] = COLOURS[person][::-1]
            noise = rng.integers(0, 12, picture.shape, dtype=np.uint8)
            cv2.imwrite(str(folder / f"{number:06d}.jpg"), picture + noise)
        folders.append(str(folder))
    count = len(folders)
    start = [second + 3.0 * place for place in range(count)]
    columns = {
        "tracklet_id": [f"track{person:04d}" for person in people], "pid": [0] * count, "camid": [camera] * count,
        "split": [""] * count, "num_frames": [4] * count, "first_frame": [1] * count, "last_frame": [4] * count,
        "start_seconds": start, "end_seconds": [each + 2 for each in start], "folder": folders, "model": ["f"] * count,
    }  # fmt: skip
    noise = np.random.default_rng(camera).normal(scale=0.01, size=(count, 3))
    vectors = (COLOURS[list(people)] / 255 + noise).astype(np.float32)
    told = {**ABOUT, "input": f"/secret/place/{name}.mp4", **about}
    path = root / f"{name}.parquet"
    pyarrow().parquet.write_table(make_table(vectors, columns, told), path)
    return path


def write_linked(galleries) -> Path:
    """Write identities for galleries in one folder: person 1 is red, 2 is green, and so on; the last is undecided."""
    count = 5 * len(galleries)
    nothing = np.full(count, np.nan)
    columns = {
        "gallery": np.repeat([path.name for path in galleries], 5),
        "tracklet_id": np.array([f"track{person:04d}" for person in range(5)] * len(galleries)),
        "identity": np.array([1, 2, 3, 4, 0] * len(galleries)),
        "name": np.full(count, ""), "confidence": np.full(count, 0.8), "distance": nothing,
        "rival": np.zeros(count, int), "rival_distance": nothing,
        "camid": np.repeat(np.arange(1, len(galleries) + 1), 5),
        "start_seconds": nothing, "end_seconds": nothing,
    }  # fmt: skip
    about = {
        "fingerprint": "f", "model": "toy", "metric": "euclidean", "clock": "unix", "threshold": 0.2, "perhaps": 0.3,
        "galleries": [{"path": path.name, "rows": 5} for path in galleries], "threshold_from": "given",
        "no_overlap": False, "next_identity": 5,
    }  # fmt: skip
    path = galleries[0].with_name("identities.parquet")
    write_identities(Identities(columns, about), path)
    return path


class Answer:
    """Of the server."""

    def __init__(self, response):
        self.status, self.body = response.status, response.read()
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.cookies = [value for name, value in response.getheaders() if name.lower() == "set-cookie"]

    @property
    def text(self):
        return self.body.decode()

    @property
    def json(self):
        return json.loads(self.body)


class Served:
    """A server in a thread, and what to say to it."""

    def __init__(self, service, port):
        self.service, self.port, self.address = service, port, f"http://127.0.0.1:{port}"

    def ask(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def get(self, path, parameters=(), **headers):
        query = urllib.parse.urlencode(parameters)
        return self.ask("GET", f"{path}?{query}" if query else path, **headers)

    def page(self, path, parameters=(), **headers):
        return self.get(path, parameters, accept="text/html", **headers)

    def csrf(self, **headers):
        return self.get("/api/session", **headers).json["csrf"]

    def post(self, path, fields, csrf=None, **headers):
        """Send a form as this server's pages do."""
        token = self.csrf() if csrf is None else csrf
        body = urllib.parse.urlencode({**fields, "csrf": token}, doseq=True)
        return self.ask("POST", path, body, content_type="application/x-www-form-urlencoded", **headers)

    def upload(self, content, path="/api/uploads", fields=(), name="a.jpg", csrf=None, **headers):
        """Send a file as a form with parts."""
        parts = [("csrf", self.csrf() if csrf is None else csrf), *dict(fields).items()]
        head = "".join(
            f'--x\r\ncontent-disposition: form-data; name="{key}"\r\n\r\n{value}\r\n' for key, value in parts
        )
        head += f'--x\r\ncontent-disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
        body = head.encode() + content + b"\r\n--x--\r\n"
        return self.ask("POST", path, body, content_type="multipart/form-data; boundary=x", **headers)

    @property
    def logged(self):
        return [json.loads(line) for line in self.service.audit.path.read_text().splitlines()]


@contextlib.contextmanager
def serving(galleries, **options):
    """Serve galleries on a free port."""
    from vreid_jax.serving.address import Address
    from vreid_jax.serving.server import listen, make_server
    from vreid_jax.serving.service import Options, Service

    address = Address(port=0, token=options.pop("token", ""))
    service = Service(Options(galleries=[str(path) for path in galleries], address=address, **options))
    service._model = MeanColour()
    with listen("127.0.0.1", 0) as opened:
        server = make_server(service)
        thread = threading.Thread(target=server.run, args=([opened],), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield Served(service, opened.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(20)
            service.close()


@pytest.fixture
def town(tmp_path):
    """Two galleries, of cameras 1 and 2, an hour apart, and their identities."""
    galleries = [
        write_gallery(tmp_path, "north", 1, recorded_at="2026-05-04T08:00:00+00:00"),
        write_gallery(tmp_path, "south", 2, recorded_at="2026-05-04T09:00:00+00:00"),
    ]
    return galleries, write_linked(galleries)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Both galleries, served to anybody on this machine; for tests that change nothing but the log."""
    root = tmp_path_factory.mktemp("town")
    galleries = [
        write_gallery(root, "north", 1, recorded_at="2026-05-04T08:00:00+00:00"),
        write_gallery(root, "south", 2, recorded_at="2026-05-04T09:00:00+00:00"),
    ]
    with serving(galleries, identities=str(write_linked(galleries))) as open_server:
        yield open_server


@pytest.fixture(scope="session")
def red_picture():
    """A JPEG of somebody in red."""
    picture = np.full((96, 48, 3), 90, np.uint8)
    picture[8:92, 10:40] = COLOURS[0][::-1]
    return cv2.imencode(".jpg", picture)[1].tobytes()


@pytest.fixture(scope="session")
def red_video(tmp_path_factory):
    """An AVI of somebody in red, 40 frames."""
    file = tmp_path_factory.mktemp("video") / "red.avi"
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 128))
    for _ in range(40):
        picture = np.full((128, 64, 3), 90, np.uint8)
        picture[8:120, 12:52] = COLOURS[0][::-1]
        writer.write(picture)
    writer.release()
    return file.read_bytes()


RED = {"gallery": "north.parquet", "tracklet": "track0000"}


def forms(text):
    """The hidden fields of a page."""
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', text))

"""Galleries and databases in an object store, which here is a server on the loopback."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vreid_jax.search import open_gallery

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture
def store(made_folder):
    """A bucket `town` with the made-up folder in it, and `run(command, …)` which runs a command beside it."""
    server = pytest.importorskip(
        "moto.server", reason="moto plays the object store: python3 -m pip install 'moto[server]'"
    )
    import boto3

    playing = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    playing.start()
    host, port = playing.get_host_and_port()
    address = f"http://{host}:{port}"
    keys = {"AWS_ACCESS_KEY_ID": "made-up", "AWS_SECRET_ACCESS_KEY": "made-up", "AWS_DEFAULT_REGION": "us-east-1"}
    client = boto3.client(
        "s3",
        endpoint_url=address,
        region_name="us-east-1",
        aws_access_key_id="made-up",
        aws_secret_access_key="made-up",
    )
    client.create_bucket(Bucket="town")
    folder = made_folder()
    for file in folder.rglob("*.parquet"):
        client.upload_file(str(file), "town", f"galleries/{file.relative_to(folder).as_posix()}")
    environment = {**os.environ, **keys, "AWS_ENDPOINT_URL": address, "AWS_ALLOW_HTTP": "true", "PYTHONPATH": str(ROOT)}

    def run(*arguments, code=0):
        command = [sys.executable, "-m", "vreid_jax.cli.command", *map(str, arguments)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout) if code == 0 else done.stderr

    yield client, folder, run
    playing.stop()


def test_a_folder_in_a_store_is_searched_linked_and_marked_as_one_here(store, tmp_path):
    _, folder, run = store
    name = open_gallery(folder).columns["tracklet_id"][0]
    here, there = (
        run("search", place, f"--query={name}", "--camera=2", "--json") for place in (folder, "s3://town/galleries")
    )
    assert here["queries"] == there["queries"]
    linked = run("link", "s3://town/galleries", "--threshold=1", f"--out={tmp_path / 'who.parquet'}", "--json")
    assert (linked["tracklets"], linked["galleries"]) == (12, ["s3://town/galleries"])
    again = run("link", f"--into={tmp_path / 'who.parquet'}", "--threshold=1", "--json")
    assert again["tracklets"] == 12
    said = run("search", "s3://town/nothing", f"--query={name}", code=2)
    assert "there is no gallery s3://town/nothing" in said
    said = run("search", "s3://nowhere/galleries", f"--query={name}", code=2)
    assert "s3://nowhere/galleries" in said
    assert len(said.strip().splitlines()) == 1


def test_a_database_in_a_store_is_pushed_to_searched_and_forgotten_in(store):
    pytest.importorskip("lance")
    client, folder, run = store
    whole = open_gallery(folder)
    name, vector = whole.columns["tracklet_id"][4], whole.vectors[4].tobytes()

    def contents():
        listed = client.list_objects_v2(Bucket="town", Prefix="town.lance/")["Contents"]
        return [client.get_object(Bucket="town", Key=each["Key"])["Body"].read() for each in listed]

    first = run("push", "s3://town/galleries", "s3://town/town.lance", "--quiet", "--json")
    assert (first["inserted"], first["rows"]) == (12, 12)
    again = run("push", folder, "s3://town/town.lance", "--quiet", "--json")
    assert (again["inserted"], again["changed"], again["unchanged"]) == (0, 0, 12)
    by_files, by_database = (
        run("search", place, f"--query={name}", "--json")["queries"][0]["matches"]
        for place in (folder, "s3://town/town.lance")
    )
    assert [match["tracklet_id"] for match in by_files] == [match["tracklet_id"] for match in by_database]
    assert any(vector in content for content in contents())
    run("forget", "s3://town/town.lance", f"--tracklet={name}", "--json")
    assert not any(vector in content for content in contents())
    assert run("search", "s3://town/town.lance", f"--query={whole.columns['tracklet_id'][0]}", "--k=20", "--json")

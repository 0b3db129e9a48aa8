"""An archive in an object store: S3 as moto serves it on this machine."""

import re

import pytest

from vreid_jax.archives.embedding import embed_archive
from vreid_jax.archives.parts import ArchiveSettings
from vreid_jax.archives.store import Store, fetch
from vreid_jax.archives.work import Worker
from vreid_jax.errors import InputError

server = pytest.importorskip("moto.server", reason="needs moto: python3 -m pip install 'moto[server]'")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")]


@pytest.fixture
def bucket(monkeypatch, request):
    """`address(path)` in a bucket of a server on the loopback, one for each test: servers of one process share them."""
    name = request.node.name.replace("_", "-")[:60]
    for variable, value in (
        ("ACCESS_KEY_ID", "key"),
        ("SECRET_ACCESS_KEY", "secret"),
        ("EC2_METADATA_DISABLED", "true"),
    ):
        monkeypatch.setenv(f"AWS_{variable}", value)
    served = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    served.start()
    _, port = served.get_host_and_port()
    options = f"endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1&allow_bucket_creation=true"
    filesystem, _ = pytest.importorskip("pyarrow.fs").FileSystem.from_uri(f"s3://{name}/x?{options}")
    filesystem.create_dir(name)
    yield lambda path: f"s3://{name}/{path}?{options}"
    served.stop()


def run(model, manifest, out):
    settings = ArchiveSettings()

    def make(parts, store):
        return map(Worker(model, store, settings).make, parts)

    return embed_archive(str(manifest), out, model, make, settings)


def contents(store):
    return {name: store.read(name) for name in store.names()}


def test_an_archive_in_s3_has_the_files_of_one_in_a_folder(model, street, bucket, tmp_path):
    manifest, out = street / "cameras.csv", bucket("archive")
    done = run(model, manifest, out)
    assert (done.parts, done.tracklets, done.failed) == (2, 3, ())
    run(model, manifest, str(tmp_path / "here"))
    assert contents(Store.at(out)) == contents(Store.at(str(tmp_path / "here")))
    again = run(model, manifest, out)
    assert (again.parts, again.before) == (0, 2)


def test_videos_and_tracks_may_lie_in_s3_too(model, street, bucket, tmp_path):
    footage = Store.at(bucket("footage"))
    for name in ("north.avi", "north.txt"):
        footage.write(name, (street / name).read_bytes())
    video, tracks = bucket("footage/north.avi"), bucket("footage/north.txt")
    assert fetch(video, tmp_path).read_bytes() == (street / "north.avi").read_bytes()
    manifest = tmp_path / "m.csv"
    manifest.write_text(
        f"video,camera,start,tracks\n{video},1,2026-03-02T00:30:00+01:00,{tracks}\n{bucket('footage/gone.avi')},1,0,\n"
    )
    done = run(model, manifest, bucket("archive"))
    assert (done.parts, done.tracklets) == (1, 2)
    (failed,) = done.failed
    assert failed["why"].startswith("cannot read s3://")
    run(model, street / "cameras.csv", str(tmp_path / "here"))
    ours = {name.rpartition("-")[2] for name in Store.at(bucket("archive")).names()}
    here = {name.rpartition("-")[2] for name in Store.at(str(tmp_path / "here")).names()}
    assert (
        len(ours & here & {name for name in ours if name.endswith(".parquet")}) == 1
    )  # named by content, not by place


def test_what_an_object_store_refuses_is_one_sentence(bucket):
    store = Store.at(
        re.sub("//[^/]*", "//no-such-bucket", bucket("archive")).replace("&allow_bucket_creation=true", "")
    )
    with pytest.raises(InputError, match="cannot write s3://no-such-bucket/archive"):
        store.write("a/b", b"content")
    with pytest.raises(InputError, match="s3://bucket/a\\?nonsense=1 cannot be used"):
        Store.at("s3://bucket/a?nonsense=1")

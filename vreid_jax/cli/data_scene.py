"""Draw videos of a street by several cameras, with true boxes and identities, to try tracking and linking on."""

import argparse

from vreid_jax.cli.numbers import whole

EXAMPLE = "vreid data scene --cameras=3 --people=12 --seconds=40 --out=street"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("--cameras", type=whole, default=3, help="number of cameras; default: 3")
    parser.add_argument("--people", type=whole, default=12, help="number of people; default: 12")
    parser.add_argument("--seconds", type=whole, default=40, help="length of each video; default: 40")
    parser.add_argument(
        "--out", required=True, help="folder to make: a WebM video a camera, MOTChallenge text, scene.json"
    )
    parser.add_argument(
        "--apart", action="store_true", help="no two cameras see the same place; else 1 and 2 do, 3 and 4, …"
    )
    parser.add_argument("--width", type=whole, default=640, help="of the videos, pixels; default: 640")
    parser.add_argument("--height", type=whole, default=360, help="of the videos, pixels; default: 360")
    parser.add_argument("--fps", type=whole, default=10, help="frames per second; default: 10")
    parser.add_argument("--seed", type=whole, default=0, help="another number, another street and other people")
    parser.add_argument("--quiet", action="store_true", help="show no progress bar")


def run(flags: argparse.Namespace) -> dict:
    """Draw; return the folder and the counts."""
    from vreid_jax.datasets.scenes.plan import SceneSettings
    from vreid_jax.datasets.scenes.writing import render_scene

    names = ("cameras", "people", "seconds", "width", "height", "fps", "apart", "seed")
    settings = SceneSettings(**{name: getattr(flags, name) for name in names})
    about = render_scene(settings, flags.out, progress=not flags.quiet)
    tracks = [identity for of_camera in about["tracks"].values() for identity in of_camera.values()]
    return {
        "out": flags.out,
        "cameras": settings.cameras,
        "frames": settings.cameras * settings.frames,
        "tracks": len(tracks),
        "identities": len(set(tracks)),
    }


def text(outcome: dict) -> str:
    """Return one line."""
    return (
        f"{outcome['out']}: {outcome['cameras']} cameras, {outcome['frames']} frames, {outcome['tracks']} tracks of "
        f"{outcome['identities']} identities"
    )

"""Forget people of galleries: remove their vectors, pictures, pages and identities, and prove that they are gone."""

import argparse
import dataclasses

from vreid_jax.cli.numbers import whole

EXAMPLE = """vreid forget gallery.parquet --tracklet=track0017
  vreid forget north.parquet south.parquet --identity=3 --dry-run
  vreid forget gallery.parquet --before=2026-05-04
  vreid forget town.lance --tracklet=north.mp4-0123456789/track0017"""
INTERRUPTED = "interrupted; give the same command again to finish it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "galleries",
        nargs="+",
        metavar="gallery",
        help="files that `vreid embed` wrote, folders of them, or databases (.lance)",
    )
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--tracklet", action="append", default=[], help="a tracklet_id; repeatable")
    who.add_argument(
        "--identity", action="append", default=[], type=whole, help="number of a linked person; repeatable"
    )
    who.add_argument("--before", default="", help="everybody last seen before this date, UTC unless it names a zone")
    who.add_argument(
        "--expired", action="store_true", help="everybody kept longer than --retention-days of `vreid embed`"
    )
    parser.add_argument("--identities", help="file that `vreid link` wrote; default: those beside the galleries")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="change nothing; name the tracklets that would be forgotten, and the folders of pictures, pages and indexes that would go",
    )


def run(flags: argparse.Namespace) -> dict:
    """Forget; return what was removed, what was checked, and what is not covered."""
    from vreid_jax import forgetting
    from vreid_jax.archives.database import is_database
    from vreid_jax.forgetting.selection import parse_moment

    selection = forgetting.Selection(
        tracklets=flags.tracklet,
        identities=flags.identity,
        before=parse_moment(flags.before) if flags.before else None,
        expired=flags.expired,
    )
    databases = [each for each in flags.galleries if is_database(each)]
    if databases:
        return _of_databases(flags, databases, selection)
    found = forgetting.forget(flags.galleries, selection, identities=flags.identities, dry_run=flags.dry_run)
    return {"dry_run": flags.dry_run, "galleries": [dataclasses.asdict(each) for each in found]}


def _of_databases(flags: argparse.Namespace, databases: list[str], selection) -> dict:
    from vreid_jax.archives import removal
    from vreid_jax.archives.database import open_database
    from vreid_jax.errors import InputError

    if len(databases) < len(flags.galleries):
        raise InputError(f"{databases[0]} is a database, and others are galleries: forget in one kind at a time")
    if selection.identities:
        raise InputError(
            f"a database has no identities: name the tracklets of a person in {databases[0]} with --tracklet"
        )
    found = [
        removal.forget(
            open_database(each),
            tracklets=selection.tracklets,
            before=selection.before,
            expired=selection.expired,
            dry_run=flags.dry_run,
        )
        for each in databases
    ]
    return {"dry_run": flags.dry_run, "databases": [dataclasses.asdict(each) for each in found], "galleries": []}


def text(outcome: dict) -> str:
    """Return the report."""
    lines = []
    for each in outcome.get("databases", ()):
        names = each["tracklets"]
        said = "would forget" if outcome["dry_run"] else "forgot"
        plural = "s" * (len(names) != 1)
        lines.append(
            f"{each['database']}: {said} {len(names)} tracklet{plural}: {', '.join(names)}; {each['rows_left']} stay"
            if names
            else f"{each['database']}: nobody is meant, nothing was changed"
        )
        lines += [f"  checked: {words}" for words in each["proof"]]
        lines += [f"  not covered: {words}" for words in each["not_covered"]]
    for each in outcome["galleries"]:
        names, removed = each["tracklets"], each["removed"]
        if not names:
            lines.append(f"{each['gallery']}: nobody is meant, nothing was changed")
            continue
        said = "would forget" if outcome["dry_run"] else "forgot"
        lines.append(f"{each['gallery']}: {said} {len(names)} tracklet{'s' * (len(names) != 1)}: {', '.join(names)}")
        if each["resumed"] and not outcome["dry_run"]:
            lines.append(f"  an earlier call was killed; finished for {', '.join(each['resumed'])}")
        if outcome["dry_run"]:
            lines += [f"  would remove {file}" for file in each["would_remove"]]
        else:
            lines.append(
                f"  removed: vectors {removed['rows']} ({removed['rows_left']} stay), pictures {removed['pictures']}, rows "
                f"of identities {removed['identities']}, corrections changed or removed {removed['corrections']}, boxes of "
                f"tracks {removed['boxes']}"
            )
        lines += [f"  removed {file}" for file in removed["files"]]
        lines += [f"  checked: {words}" for words in each["proof"]]
        lines += [f"  not covered: {words}" for words in each["not_covered"]]
    return "\n".join(lines)

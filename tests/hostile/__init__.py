"""Hostile inputs for everything that reads: generators that know the formats, and one judge of the outcome.

Every reader gets good input of its kind, changed in ways that depend on one seed. Allowed is a right result, or an
`InputError` of one line that names a file or a field. Anything else fails: another exception, time or memory beyond the
limits, a changed or new file beside the input, and for files that this library writes, another result than that of the
unchanged file. From the root of the repository:

    PYTHONPATH=tests python3 -m hostile                                     # 10,000 inputs; prints the seed
    PYTHONPATH=tests python3 -m hostile --seed=7 --reader=gallery --count=500
    PYTHONPATH=tests python3 -m hostile --seed=7 --reader=gallery --number=123 --keep=FOLDER   # that one again

The tests of this folder run a handful of inputs for each reader; those marked `slow`, VREID_HOSTILE_COUNT of them
(10,000) with the seed VREID_HOSTILE_SEED (one of the day).
"""

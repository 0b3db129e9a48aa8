"""A decoder of pictures that reports damage.

OpenCV decodes a JPEG whose data are damaged, as far as that goes, and libjpeg prints to the process's standard error what
was wrong. Processes of their own decode here, so that what they print is about one picture and from nobody else, on
however many threads pictures are read. This file is also their program, which is why importing it imports nothing of the package.
"""

import atexit
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
from typing import IO

import cv2
import numpy as np

FAILED = "it does not decode"
DAMAGE = re.compile(r"Corrupt JPEG data: .*|Premature end of JPEG file")
# Some cameras pad a picture, which is whole, with a few bytes.
PADDING = re.compile(r"Corrupt JPEG data: \d extraneous bytes before marker 0xd9")


MOST_PROCESSES = 4


def damage(picture: bytes) -> str | None:
    """Return what is wrong with an encoded picture, or None: a sentence, or the first words of libjpeg about its data.

    Raises:
      RuntimeError: when no decoder can be started; one that ended early has written the reason to stderr.
    """
    decoder = _idle.get()
    try:
        return decoder.damage(picture)
    finally:
        _idle.put(decoder)


class _Decoder:
    """A process that decodes, started on first use."""

    def __init__(self):
        self._process: subprocess.Popen | None = None
        self._owner = 0

    def damage(self, picture: bytes) -> str | None:
        for _ in range(2):  # it may have been killed while it was idle
            try:
                return self._ask(picture)
            except (BrokenPipeError, EOFError):
                self._stop()
            except BaseException:  # Ctrl-C: its answer must not be taken for the next one
                self._stop()
                raise
        return FAILED  # the decoder dies of it

    def _ask(self, picture: bytes) -> str | None:
        if self._process is None or self._owner != os.getpid():  # a fork must not write into its parent's pipe
            self._start()
        return _answer(self._process, picture) or None

    def _start(self) -> None:
        from vreid_jax.datasets.processes import environment

        command, pipe = [sys.executable, "-P", __file__], subprocess.PIPE
        try:
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment())
        except OSError as error:
            raise RuntimeError(f"the decoder of pictures cannot be started: {error.strerror}") from error
        self._owner = os.getpid()
        atexit.register(self._stop)
        try:
            _answer(self._process, b"")  # if it dies of this, no picture is to blame
        except (BrokenPipeError, EOFError):
            status = self._process.wait()
            raise RuntimeError(f"the decoder of pictures cannot be started: it ended with status {status}") from None

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None and self._owner == os.getpid():
            process.kill()
            process.communicate()


def _answer(process: subprocess.Popen | None, picture: bytes) -> str:
    """Return what a decoder says of a picture; `BrokenPipeError` or `EOFError` when it ends instead."""
    assert process
    assert process.stdin
    assert process.stdout
    _write(process.stdin, picture)
    answer = _read(process.stdout)
    if answer is None:
        raise EOFError
    return answer.decode()


def _write(stream: IO[bytes], data: bytes) -> None:
    stream.write(len(data).to_bytes(8, "little"))
    stream.write(data)
    stream.flush()


def _read(stream: IO[bytes]) -> bytes | None:
    """Return one message, or None at the end of the stream."""
    header = stream.read(8)
    size = int.from_bytes(header, "little")
    data = stream.read(size) if len(header) == 8 else b""
    return data if len(header) == 8 and len(data) == size else None


def _serve() -> None:
    """Decode what comes in until the stream ends; the answer is what is wrong, empty for nothing."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all processes: this one ends with its parent
    cv2.setNumThreads(1)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        while (data := _read(sys.stdin.buffer)) is not None:
            said.seek(0)
            said.truncate()
            try:
                # At an eighth of its size a whole JPEG is parsed, and little of it is computed; of a small PNG nothing is left.
                how = cv2.IMREAD_GRAYSCALE if data.startswith(b"\x89PNG") else cv2.IMREAD_REDUCED_GRAYSCALE_8
                picture = cv2.imdecode(np.frombuffer(data, np.uint8), how)
            except cv2.error:
                picture = None
            said.seek(0)
            lines = said.read().decode(errors="replace").splitlines()
            wrong = [line for line in lines if DAMAGE.fullmatch(line) and not PADDING.fullmatch(line)]
            _write(sys.stdout.buffer, (FAILED if picture is None else "".join(wrong[:1])).encode())


_idle: queue.LifoQueue[_Decoder] = queue.LifoQueue()  # the last one back goes first: one thread needs one process
for _ in range(min(MOST_PROCESSES, os.cpu_count() or 1)):
    _idle.put(_Decoder())

if __name__ == "__main__":
    _serve()

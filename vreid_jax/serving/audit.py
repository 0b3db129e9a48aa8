"""The audit log: who asked for what, and when, as lines of JSON that are only ever added to."""

from __future__ import annotations

import datetime
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

from vreid_jax.errors import InputError
from vreid_jax.files import given_path
from vreid_jax.serving.refusal import Refusal


class AuditLog:
    """A file that gets a line for every search, every look at a person and every correction.

    What cannot be logged does not happen: `write` is called before the answer is given.
    """

    def __init__(self, path: str | Path):
        """Open the log, or begin it, readable by its owner only.

        Raises:
          InputError: when it cannot be written.
        """
        self.path = given_path(path)
        self._lock = threading.Lock()
        self._minute, self._looks = 0.0, set[tuple]()
        try:
            self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, 0o600)
        except OSError as error:
            raise InputError(
                f"the audit log {self.path} cannot be written: {error.strerror}; name another with --audit"
            ) from error

    def write(self, what: str, who: dict[str, str], **details: Any) -> None:
        """Add a line, `{"time", "what", "who", …}`, in the file when this returns.

        Args:
          what: was done: "search", "look", "compare", "export", "correct", "sign in" and so on.
          who: name and address of the user.
          **details: of it, which JSON can hold.

        Raises:
          Refusal: when the line cannot be written.
        """
        moment = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": moment, "what": what, "who": who, **details}) + "\n"
        try:
            with self._lock:
                written = os.write(self._file, line.encode())
                if written != len(line.encode()):
                    raise OSError("only a part of the line")
        except OSError as error:
            raise Refusal(503, "The audit log cannot be written, so nothing is shown; its disk may be full.") from error

    def write_look(self, who: dict[str, str], **details: Any) -> None:
        """Add a line "look", as `write`, unless one of the same user and details was added in this minute.

        A page has many pictures, which a browser asks for again.
        """
        minute, look = time.monotonic() // 60, (*who.items(), *details.items())
        with self._lock:
            if minute != self._minute:
                self._minute, self._looks = minute, set()
            if look in self._looks:
                return
        self.write("look", who, **details)
        with self._lock:
            self._looks.add(look)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

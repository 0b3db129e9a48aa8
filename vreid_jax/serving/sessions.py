"""Who is signed in, and tokens that tell a page of this server from a page of another."""

from __future__ import annotations

import collections
import dataclasses
import getpass
import hashlib
import hmac
import secrets
import threading
import time

COOKIE = "vreid_session"
MOST, HOURS = 1000, 12  # sessions
_LONGEST_NAME = 80


@dataclasses.dataclass(frozen=True)
class User:
    """Who sends a request.

    Attributes:
      name: that they gave, or of the account that started a server without a token.
      address: of their machine.
      session: name of their session; empty for a program that sends the token itself.
    """

    name: str
    address: str
    session: str

    @property
    def who(self) -> dict[str, str]:
        """What the audit log says of them."""
        return {"name": self.name, "address": self.address}


class Sessions:
    """The sessions of a server, in memory."""

    def __init__(self, token: str):
        """Begin without any; `token` is what users sign in with, empty where nobody has to."""
        self._token, self._secret = token, secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._open: collections.OrderedDict[str, tuple[str, float]] = collections.OrderedDict()

    @property
    def needs_token(self) -> bool:
        """Whether users have to sign in."""
        return bool(self._token)

    def is_token(self, given: str) -> bool:
        """Return whether this is the token, in a time that does not tell how much of it is right."""
        return self.needs_token and hmac.compare_digest(given.encode(), self._token.encode())

    def sign_in(self, name: str) -> str:
        """Return the name of a new session."""
        session = secrets.token_urlsafe(32)
        with self._lock:
            self._open[session] = (clean_name(name), time.monotonic())
            while len(self._open) > MOST:
                self._open.popitem(last=False)
        return session

    def sign_out(self, session: str) -> None:
        """End a session."""
        with self._lock:
            self._open.pop(session, None)

    def user(self, session: str, bearer: str, address: str) -> User | None:
        """Return who sends a request with this cookie and this token, or None for a stranger."""
        if not self.needs_token:
            return User(getpass.getuser(), address, "local")
        if bearer:
            return User("a program with the token", address, "") if self.is_token(bearer) else None
        with self._lock:
            name, since = self._open.get(session, ("", 0.0))
        if not name or time.monotonic() - since > 3600 * HOURS:
            return None
        return User(name, address, session)

    def form_token(self, user: User) -> str:
        """Return what the forms of a user's pages carry, which other pages cannot know."""
        return hmac.new(self._secret, user.session.encode(), hashlib.sha256).hexdigest()

    def is_form_token(self, user: User, given: str) -> bool:
        """Return whether a form is one of ours; a program that sends the token itself needs none."""
        return not user.session or hmac.compare_digest(self.form_token(user).encode(), given.encode())


def clean_name(name: str) -> str:
    """Return a name on one line, cut to a bearable length; "somebody" for none."""
    return (
        " ".join("".join(letter if letter.isprintable() else " " for letter in name).split())[:_LONGEST_NAME]
        or "somebody"
    )

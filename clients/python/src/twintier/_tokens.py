"""Tokens of a session: read your own writes, and never go back, through any replica."""

from __future__ import annotations

import re
import threading

from twintier._errors import UsageError
from twintier._io import Io

MAX_TOKENS = 16
"""Tokens of a session, and its calls in flight: the service accepts no more."""
MAX_TEXT = 32 * 1024
_TEXT = re.compile(r"[!-+\--~]+(?:,[!-+\--~]+)*")


class Tokens:
    """The tokens that a session received. Each answer replaces those that its request carried."""

    def __init__(self, io: Io, text: str = "") -> None:
        self.gate = io.gate(MAX_TOKENS)
        self._lock = threading.Lock()
        self._tokens: dict[str, None] = dict.fromkeys(parse(text))

    def current(self) -> tuple[str, ...]:
        """Returns the tokens that a request carries."""
        with self._lock:
            return tuple(self._tokens)

    def learn(self, sent: tuple[str, ...], received: str) -> None:
        """Replaces the tokens that were sent by the one that was received."""
        if not received:
            return
        with self._lock:
            for token in sent:
                self._tokens.pop(token, None)
            self._tokens[received] = None

    def text(self) -> str:
        """Returns the tokens as text, for another service."""
        return ",".join(self.current())


def parse(text: str) -> tuple[str, ...]:
    """Returns the tokens of a session's text."""
    if not text:
        return ()
    if len(text) > MAX_TEXT or not _TEXT.fullmatch(text):
        raise UsageError(f"text of a session must be tokens joined by commas, was {text[:40]!r}")
    tokens = tuple(text.split(","))
    if len(tokens) > MAX_TOKENS:
        raise UsageError(f"text of a session must have at most {MAX_TOKENS} tokens")
    return tokens

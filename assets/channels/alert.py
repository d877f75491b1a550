"""An alert: one thing that somebody should know."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from assets.channels.plain_text import plain_text

Severity = Literal["warning", "error"]


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing somebody should know: a subject, the sentences that explain it, and the numbers behind it.

    Whatever they quote, they are plain text: no line, mention or link of somebody else gets into a chat or mail.
    """

    subject: str
    sentences: tuple[str, ...]
    severity: Severity
    facts: Mapping[str, str | int | float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make text plain."""
        object.__setattr__(self, "subject", plain_text(self.subject))
        object.__setattr__(self, "sentences", tuple(plain_text(sentence) for sentence in self.sentences))
        facts = {name: plain_text(fact) if isinstance(fact, str) else fact for name, fact in self.facts.items()}
        object.__setattr__(self, "facts", facts)

    @property
    def text(self) -> str:
        """All of it for a person to read."""
        facts = [f"{name}: {value}" for name, value in self.facts.items()]
        return "\n".join([f"{self.severity.upper()}: {self.subject}", *self.sentences, *facts])

"""Dead letters in the database: what other rooms use of them."""

from resources.storage.letters.records import (
    Claim,
    LetterFilter,
    ParkedLetter,
    StoredLetter,
    Transition,
)
from resources.storage.letters.store import DeadLetters

__all__ = ["Claim", "DeadLetters", "LetterFilter", "ParkedLetter", "StoredLetter", "Transition"]

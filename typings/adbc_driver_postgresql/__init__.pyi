# The driver names no types of what a cursor executes. Here: what we call, and no more.
from enum import Enum

class StatementOptions(Enum):
    BATCH_SIZE_HINT_BYTES = "adbc.postgresql.batch_size_hint_bytes"

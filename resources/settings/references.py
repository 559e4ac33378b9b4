"""Secrets by reference: a variable names where its secret lies, and holds none itself.

Here: the form of a reference, asking AWS Secrets Manager, and keeping its answer for some minutes.
Not here: which variables are secrets (variables.py).

A reference is `aws-secrets-manager:NAME#KEY`: the field KEY of a secret whose text is a JSON
object. Without `#KEY` it is the whole text; `?stage=AWSPREVIOUS` before the `#` asks for what was
valid before the last rotation. NAME is a name or an ARN.
https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html
"""

import json
import os
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from marketdata.recovery import errors

SCHEME = "aws-secrets-manager"
KEPT_FOR_S = 300.0
"""How long an answer counts: a rotated key is taken up within this time."""
CURRENT = "AWSCURRENT"
_KEY_OF_BUCKET = "AWS_ACCESS_KEY_ID"
_ELSEWHERE = "WRDATA_S3_ENDPOINT"
"""Set where the bucket is not on AWS."""
_FORM = f"{SCHEME}:NAME, {SCHEME}:NAME#KEY or {SCHEME}:NAME?stage=AWSPREVIOUS#KEY"
_TRANSIENT = {
    "InternalServiceError",
    "InternalFailure",
    "ServiceUnavailable",
    "ThrottlingException",
    "RequestTimeout",
}
_CURES = {
    "ResourceNotFoundException": "create it, or correct its name, stage or region (AWS_REGION)",
    "DecryptionFailure": "allow kms:Decrypt with its key",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Where a secret lies.

    Attributes:
        name: Name or ARN of the secret.
        key: Field of its JSON object; empty for the whole text.
        stage: Which of its versions.
    """

    name: str
    key: str
    stage: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a reference.

        Raises:
            ConfigurationError: It is not in the form above.
        """
        parts = urlsplit(text)
        query = parse_qs(parts.query, strict_parsing=False)
        if not parts.path or parts.netloc or query.keys() - {"stage"}:
            raise errors.ConfigurationError(f"a reference to a secret has the form {_FORM}")
        stage = query.get("stage", [CURRENT])[0]
        return cls(name=parts.path, key=parts.fragment, stage=stage)

    @property
    def region(self) -> str | None:
        """The region that an ARN names: arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME."""
        matched = re.match(r"arn:[\w-]+:secretsmanager:([\w-]+):", self.name)
        return matched[1] if matched else None

    def __str__(self) -> str:
        """Return it as it is written, fit to be shown: it holds no secret."""
        stage = "" if self.stage == CURRENT else f"?stage={self.stage}"
        return f"{SCHEME}:{self.name}{stage}{self.key and f'#{self.key}'}"


def is_reference(text: str) -> bool:
    """Return whether a variable's text is a reference, well formed or not."""
    return text.startswith(f"{SCHEME}:")


class SecretsManager:
    """AWS Secrets Manager, each of whose answers counts for some minutes.

    Args:
        clock: Seconds that only go forward.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, str], tuple[float, str]] = {}

    def value(self, reference: Reference) -> str:
        """Return the secret, asked for anew if the last answer is too old.

        While the service cannot be reached, the last answer goes on counting: a key is not wrong
        because its keeper is away.

        Raises:
            ConfigurationError: There is no such secret or field, or we may not read it.
            StorageUnavailableError: The service cannot be reached, and never was.
        """
        place, now = (reference.name, reference.stage), self._clock()
        with self._lock:
            asked_at, text = self._kept.get(place, (float("-inf"), ""))
            if now - asked_at >= KEPT_FOR_S:
                try:
                    text = _ask(reference)
                except errors.StorageUnavailableError:
                    if place not in self._kept:
                        raise
                self._kept[place] = (now, text)
        return _field(text, reference)


def _ask(reference: Reference) -> str:
    # Here, since few processes need it: commands that list and help start without boto3.
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        client = _client(reference.region)
        answer = client.get_secret_value(SecretId=reference.name, VersionStage=reference.stage)
    except ClientError as error:
        raise _refusal(error.response, reference) from None
    except BotoCoreError as error:
        raise _failure(error, reference) from None
    except ValueError as error:  # an endpoint that is no address
        raise errors.ConfigurationError(f"{reference} cannot be resolved: {error}") from None
    text = answer.get("SecretString")
    if text is None:
        raise errors.ConfigurationError(f"{reference} cannot be resolved: it holds bytes, no text")
    return str(text)


def _client(region: str | None) -> Any:
    import boto3
    import botocore.session
    from botocore.config import Config

    session = botocore.session.get_session()
    if is_reference(os.environ.get(_KEY_OF_BUCKET, "")) or os.environ.get(_ELSEWHERE):
        # The bucket's keys are references themselves, or no keys of AWS: the machine's own role
        # has to ask.
        session.get_component("credential_provider").remove("env")
    # No types: those of this service's client are no dependency of ours.
    ours: Any = boto3.session.Session(
        botocore_session=session, region_name=region or os.environ.get("AWS_REGION") or None
    )
    patience = Config(
        connect_timeout=5, read_timeout=5, retries={"mode": "standard", "max_attempts": 3}
    )
    return ours.client("secretsmanager", config=patience)


def _refusal(response: Any, reference: Reference) -> errors.MarketDataError:
    code = str(response.get("Error", {}).get("Code", "unknown"))
    if code in _TRANSIENT:
        message = f"{reference} cannot be resolved now: AWS Secrets Manager is busy ({code})"
        return errors.StorageUnavailableError(message)
    cure = _CURES.get(code, "allow this process secretsmanager:GetSecretValue on it")
    return errors.ConfigurationError(f"{reference} cannot be resolved ({code}): {cure}")


def _failure(error: Exception, reference: Reference) -> errors.MarketDataError:
    from botocore import exceptions

    kind = type(error).__name__
    if isinstance(error, exceptions.HTTPClientError | exceptions.ConnectionError):
        message = (
            f"{reference} cannot be resolved now: AWS Secrets Manager cannot be reached ({kind}); "
            "is the network up, and AWS_REGION right?"
        )
        return errors.StorageUnavailableError(message)
    cure = "set AWS_REGION, and give this process credentials for AWS (a role, or AWS_PROFILE)"
    return errors.ConfigurationError(f"{reference} cannot be resolved ({kind}): {cure}")


def _field(text: str, reference: Reference) -> str:
    if not reference.key:
        return text
    try:
        fields = json.loads(text)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        message = f"{reference} cannot be resolved: the secret is no JSON object; leave out #KEY"
        raise errors.ConfigurationError(message)
    value: Any = fields.get(reference.key)  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    if not isinstance(value, str | int) or value == "":
        message = f"{reference} cannot be resolved: the secret has no text under this key"
        raise errors.ConfigurationError(message)
    return str(value)


SECRETS = SecretsManager()
"""That of this process: what one setting has asked for, the next need not ask again."""

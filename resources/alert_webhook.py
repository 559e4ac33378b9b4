"""Messages to people, through a webhook that takes Slack's JSON.

Here: sending one text. Not here: which texts (pipelines/alert_messages.py), or when
(pipelines/alert_sensors.py).
https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks/
"""

import html
import logging

import httpx
from pydantic import SecretStr

from marketdata.recovery import errors
from resources.providers.http import trusted_authorities

_TIMEOUT = httpx.Timeout(10.0)
_WHO, _WHAT = "alert webhook", "message"


def send(url: SecretStr, text: str) -> None:
    """Send ``text``; it is delivered once the receiver has answered with a 2xx.

    Args:
        url: The webhook's address, which is a secret: who knows it may write.
        text: Plain text of one or more lines.

    Raises:
        ProviderUnavailableError: It was not delivered; the same message may be sent again.
    """
    # httpx' clients log the address of each request, and httpcore its path.
    logging.getLogger("httpcore").setLevel(logging.INFO)
    request = httpx.Request(
        "POST",
        url.get_secret_value(),
        json={"text": html.escape(text, quote=False)},
        extensions={"timeout": _TIMEOUT.as_dict()},
    )
    try:
        with httpx.HTTPTransport(verify=trusted_authorities()) as transport:
            answer = transport.handle_request(request)
            answer.read()
    except httpx.TransportError as error:
        message = f"it cannot be reached ({type(error).__name__})"
        raise _not_delivered(message) from None
    if not answer.is_success:
        message = f"it answers {answer.status_code}"
        raise _not_delivered(message)


def _not_delivered(message: str) -> errors.ProviderUnavailableError:
    return errors.ProviderUnavailableError(
        f"{message}: see that WRDATA_ALERT_WEBHOOK_URL is right", provider=_WHO, operation=_WHAT
    )

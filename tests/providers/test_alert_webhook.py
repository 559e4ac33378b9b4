"""Messages over a webhook: delivered, or refused in one line without its address."""

import logging

import pytest
from pydantic import SecretStr

from machine.processes import LOOPBACK, free_port
from marketdata.recovery import errors
from resources import alert_webhook
from tests.fixtures.webhook import SECRET_PATH, Webhook


def test_a_text_arrives_as_it_is_read(webhook: Webhook) -> None:
    """Slack takes three characters for its own unless they are written as entities."""
    alert_webhook.send(webhook.url, "a < b & c > d\nMünchen")

    assert webhook.texts == ["a &lt; b &amp; c &gt; d\nMünchen"]


@pytest.mark.parametrize("status", [302, 404, 429, 500])
def test_an_answer_that_is_no_yes_is_named(webhook: Webhook, status: int) -> None:
    """Redirects are not followed: the text would go to somebody else."""
    webhook.status = status

    with pytest.raises(errors.ProviderUnavailableError) as refused:
        alert_webhook.send(webhook.url, "text")

    assert str(refused.value) == (
        f"alert webhook message: it answers {status}: see that WRDATA_ALERT_WEBHOOK_URL is right"
    )


def test_a_webhook_that_is_away_is_one_line_without_its_address(
    caplog: pytest.LogCaptureFixture, webhook: Webhook
) -> None:
    """Neither in the error nor in any library's log: whoever knows it may write."""
    caplog.set_level(logging.DEBUG)
    nowhere = SecretStr(f"http://{LOOPBACK}:{free_port(None)}{SECRET_PATH}")

    alert_webhook.send(webhook.url, "text")
    with pytest.raises(errors.ProviderUnavailableError, match="cannot be reached") as refused:
        alert_webhook.send(nowhere, "text")

    assert SECRET_PATH not in str(refused.value)
    assert SECRET_PATH not in caplog.text

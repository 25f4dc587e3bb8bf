"""Each example of alertmanager/examples/, copied as the manual says, really notifies: what arrives, and its text."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.receivers import Posted, mail_receiver, web_receiver
from tests.integration.monitoring.conftest import ALERTMANAGER, installed
from tests.stack.monitoring import Monitoring, run_alertmanager
from tests.stack.waiting import wait_until

SINCE = datetime.now(tz=UTC) - timedelta(minutes=5)
STAMP = SINCE.strftime("%Y-%m-%d %H:%M UTC")
LIMIT = {"alertname": "CliproxyLimitReached", "limit": "5h", "kind": "provider", "severity": "warning"}
# Characters with a meaning in HTML, Markdown or JSON must arrive unchanged.
ANNOTATIONS = {
    "summary": 'claude-alice: 5h limit for "a_b" <c> 83% used',
    "description": "83% used (warning from 80% on). Resets in 1h 12m 5s. Pace 1.59: at this rate, used up in 14m 0s.",
    "dashboard_url": "http://localhost:3000/d/cliproxy-limits?from=now-24h&to=now&var-credential=claude-alice",
    "runbook_url": "https://runbooks.example/CliproxyLimitReached.md",
}
ALERT: dict[str, Any] = {"labels": LIMIT, "annotations": ANNOTATIONS, "startsAt": SINCE.isoformat()}
TITLE = f"WARNING: {ANNOTATIONS['summary']}"
TEXT = (
    f"{ANNOTATIONS['description']}\n"
    f"Since {STAMP}.\n"
    f"Dashboard: {ANNOTATIONS['dashboard_url']}\n"
    f"What to do: {ANNOTATIONS['runbook_url']}"
)


def _webhook(posted: Posted) -> tuple[str, str]:
    (alert,) = posted.body["alerts"]
    return f"WARNING: {alert['annotations']['summary']}", TEXT if alert["annotations"] == ANNOTATIONS else ""


def _slack(posted: Posted) -> tuple[str, str]:
    (attachment,) = posted.body["attachments"]
    assert attachment["title_link"] == ANNOTATIONS["dashboard_url"]
    return attachment["title"], attachment["text"]


def _telegram(posted: Posted) -> tuple[str, str]:
    assert str(posted.body["chat_id"]) == "-1001234"
    assert not posted.body.get("parse_mode"), "plain text"
    title, _, text = posted.body["text"].partition("\n\n")
    return title, text


def _discord(posted: Posted) -> tuple[str, str]:
    (embed,) = posted.body["embeds"]
    return embed["title"], embed["description"]


@dataclass(frozen=True)
class Messenger:
    """A messenger's example: its secrets (``{url}`` is the receiver), the path it posts to, and how to read that."""

    name: str
    secrets: Mapping[str, str]
    path: str
    read: Callable[[Posted], tuple[str, str]]
    where_the_address_belongs: str = ""
    """For an example whose address is not a secret: the text before which the test inserts it."""


MESSENGERS = [
    Messenger("webhook", {"webhook-url": "{url}/notify?token=t0"}, "/notify?token=t0", _webhook),
    Messenger("slack", {"slack-webhook-url": "{url}/services/T/B/x"}, "/services/T/B/x", _slack),
    Messenger(
        "telegram",
        {"telegram-bot-token": "12345:abc", "telegram-chat-id": "-1001234\n"},
        "/bot12345:abc/sendMessage",
        _telegram,
        "bot_token_file:",
    ),
    Messenger("discord", {"discord-webhook-url": "{url}/api/webhooks/1/x"}, "/api/webhooks/1/x", _discord),
]


@pytest.mark.parametrize("messenger", MESSENGERS, ids=lambda messenger: messenger.name)
def test_an_example_reports_what_is_wrong(newest: Monitoring, tmp_path: Path, messenger: Messenger) -> None:
    with web_receiver() as receiver:
        place = messenger.where_the_address_belongs
        config = installed(
            ALERTMANAGER / "examples" / f"{messenger.name}.yml",
            tmp_path / "etc",
            secrets={name: secret.format(url=receiver.url) for name, secret in messenger.secrets.items()},
            changes={place: f"api_url: {receiver.url}\n        {place}"} if place else {},
        )
        with run_alertmanager(newest, config=config, workdir=tmp_path) as alertmanager:
            alertmanager.post(ALERT)
            posted = wait_until(lambda: list(receiver.received))[0]

    assert posted.path == messenger.path
    assert messenger.read(posted) == (TITLE, TEXT)


def test_the_example_for_e_mail_reports_what_is_wrong(newest: Monitoring, tmp_path: Path) -> None:
    with mail_receiver() as receiver:
        config = installed(
            ALERTMANAGER / "examples" / "email.yml",
            tmp_path / "etc",
            secrets={"smtp-password": "hunter2"},
            changes={"smtp.example.com:587": f"{receiver.address}\n  smtp_require_tls: false"},
        )
        with run_alertmanager(newest, config=config, workdir=tmp_path) as alertmanager:
            alertmanager.post(ALERT)
            mail = wait_until(lambda: list(receiver.received))[0]

    assert (mail.login, mail.sender, mail.recipient) == (
        "alerts@example.com hunter2",
        "alerts@example.com",
        "you@example.com",
    )
    assert mail.message["Subject"] == TITLE
    assert mail.text.strip() == TEXT


# --- several alerts, and those that are over --------------------------------------------------------------------------


@contextmanager
def _slack_channel(binary: Monitoring, tmp_path: Path) -> Iterator[Callable[..., tuple[str, str]]]:
    """A call that posts alerts and returns title and text of the resulting message. Works with every version."""
    with web_receiver() as receiver:
        config = installed(
            ALERTMANAGER / "examples" / "slack.yml",
            tmp_path / "etc",
            secrets={"slack-webhook-url": receiver.url},
            changes={
                "group_wait: 15s": "group_wait: 1s",
                "group_interval: 5m": "group_interval: 1s",
                "group_interval: 10s": "group_interval: 1s",
            },
        )
        with run_alertmanager(binary, config=config, workdir=tmp_path) as alertmanager:

            def tell(*alerts: dict[str, Any]) -> tuple[str, str]:
                before = len(receiver.received)
                alertmanager.post(*alerts)
                wait_until(lambda: len(receiver.received) > before)
                (attachment,) = receiver.received[before].body["attachments"]
                return attachment["title"], attachment["text"]

            yield tell


def _provider(name: str, since: datetime = SINCE, end: datetime | None = None) -> dict[str, Any]:
    return {
        "labels": {"alertname": "CliproxyErrorShare", "severity": "warning", "proxy": "demo", "provider": name},
        "annotations": {"summary": f"{name} fails", "description": f"Much of {name} fails."},
        "startsAt": since.isoformat(),
        **({"endsAt": end.isoformat()} if end else {}),
    }


def test_alerts_of_one_group_share_a_message(binary: Monitoring, tmp_path: Path) -> None:
    names = ["claude", "codex", "gemini"]
    since = datetime.now(tz=UTC) + timedelta(minutes=1)  # a group does not wait for others if its first alert is old
    with _slack_channel(binary, tmp_path) as tell:
        title, text = tell(*[_provider(name, since) for name in names])

    assert title == "WARNING: claude fails (and 2 more)"
    stamp = f"{since:%Y-%m-%d %H:%M UTC}"
    parts = [f"WARNING: {name} fails\nMuch of {name} fails.\nSince {stamp}." for name in names]
    assert text == "\n\n".join(parts)


def test_a_message_names_resolved_alerts(binary: Monitoring, tmp_path: Path) -> None:
    end = datetime.now(tz=UTC)
    with _slack_channel(binary, tmp_path) as tell:
        tell(_provider("claude"), _provider("codex"))
        in_part = tell(_provider("claude"), _provider("codex", end=end))
        wholly = tell(_provider("claude", end=end))

    over_since = f"Over since {end:%Y-%m-%d %H:%M UTC}"
    assert in_part == (
        "WARNING: claude fails",
        f"Much of claude fails.\nSince {STAMP}.\n\n{over_since}: codex fails (warning)",
    )
    assert wholly == ("OVER: claude fails", f"{over_since}: claude fails (warning)")

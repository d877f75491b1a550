"""The command `addon-export alert --test`: whether somebody would be told, tried on every channel."""

import argparse
import logging
from datetime import UTC, datetime

from assets.channels.alert import Alert
from assets.channels.send import channel_names, send
from assets.terminal import show
from pipelines.environment import environment
from pipelines.errors import AlertNotDelivered, FixConfiguration


def add_alert_command(command: argparse.ArgumentParser) -> None:
    """Give the parser of `alert` its options."""
    command.set_defaults(run=_alert, needs_account=False)
    command.add_argument("--test", action="store_true", required=True, help="send one message to each channel")


def _alert(options: argparse.Namespace) -> int:
    """Send one message to each channel that is configured and print what became of it.

    Raises:
        AlertNotDelivered: a channel did not take it; all were tried.
        FixConfiguration: a setting of the alerts cannot be used.
    """
    env = environment()
    now = datetime.now(UTC)
    alert = Alert("This is a test", (f"Alerts of addon-export reach you; sent {now:%Y-%m-%d %H:%M} UTC.",), "warning")
    names = channel_names(env)
    if names == ("log",):
        raise FixConfiguration(
            "Nobody is told: alerts go to Dagster's log only; set EXPORT_ALERT_WEBHOOK, EXPORT_ALERT_EMAIL_TO or "
            "EXPORT_ALERT_CALLABLE."
        )
    failed = []
    for name in names:
        try:
            show(f"{name}: {send(alert, name, env, log=logging.getLogger(__name__))}")
        except AlertNotDelivered as error:
            show(f"{name}: {error}")
            failed.append(name)
    if failed:
        raise AlertNotDelivered(f"Of {len(names)} channels {len(failed)} did not take the test: {', '.join(failed)}.")
    return 0

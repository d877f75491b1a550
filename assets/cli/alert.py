"""The command `addon-export alert --test`: whether somebody would be told, tried on every channel."""

import logging
from datetime import UTC, datetime

import click

from assets.channels.alert import Alert
from assets.channels.send import channel_names, send
from assets.cli.arguments import Command
from assets.terminal import show
from pipelines.environment import environment
from pipelines.errors import AlertNotDelivered, FixConfiguration


@click.command(cls=Command)
@click.option("--test", is_flag=True, required=True, expose_value=False, help="Send one message to each channel.")
def command() -> None:
    """Try the channels that alerts go to."""
    try_channels()


def try_channels() -> None:
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

"""The command `addon-export completion`: what a shell has to read to complete commands and options."""

import click
from click.shell_completion import get_completion_class

from assets.cli.arguments import Command
from assets.cli.main import COMPLETE, PROGRAM, addon_export
from assets.terminal import show


@click.command(
    cls=Command,
    epilog="""
    Where it is read:
      ~/.bashrc                   eval "$(addon-export completion bash)"
      ~/.zshrc                    eval "$(addon-export completion zsh)"
      ~/.config/fish/config.fish  addon-export completion fish | source
    """,
)
@click.argument("shell", metavar="SHELL", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the script that completes commands and options in a SHELL: bash, zsh or fish."""
    script = get_completion_class(shell)
    assert script is not None
    show(script(addon_export, {}, PROGRAM, COMPLETE).source())

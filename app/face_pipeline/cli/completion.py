"""`face-pipeline completion SHELL`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

WHERE = {
    "bash": 'eval "$(face-pipeline completion bash)"     # in ~/.bashrc',
    "zsh": 'eval "$(face-pipeline completion zsh)"      # in ~/.zshrc',
    "fish": "face-pipeline completion fish > ~/.config/fish/completions/face-pipeline.fish",
}


@click.command(
    epilog="\b\nExamples:\n" + "\n".join(f"  {line}" for line in WHERE.values()),
)
@click.argument("shell", type=click.Choice(list(WHERE)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what makes a shell complete commands, options and file names."""
    kind = get_completion_class(shell)
    if kind is None:
        raise click.ClickException(f"this version of click knows no completion for {shell}")
    root = ctx.find_root()
    program = str(root.info_name)
    variable = f"_{program}_COMPLETE".replace("-", "_").upper()
    click.echo(kind(root.command, {}, program, variable).source())

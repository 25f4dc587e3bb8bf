"""The command line. Exit codes: 0 fine, 1 failed, 2 wrong use or wrong settings."""

import click

from exporter import __version__
from exporter.commands.check_config import check_config
from exporter.commands.export import export
from exporter.commands.false_starts import false_starts
from exporter.commands.limits import limits
from exporter.commands.price import price
from exporter.commands.replay import replay
from exporter.commands.run import demo, run


@click.group(
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example: CLIPROXY_MANAGEMENT_KEY=… cliproxy-exporter run",
)
@click.version_option(__version__, prog_name="cliproxy-exporter")
@click.pass_context
def main(context: click.Context) -> None:
    """Prometheus exporter for CLIProxyAPI: what it costs, who used it, which account runs out.

    Without a command it is `run`. Settings come from the environment, from .env in this directory, and from the YAML
    file that EXPORTER_CONFIG names.
    """
    if context.invoked_subcommand is None:
        context.invoke(run)


for _command in (run, demo, check_config, limits, false_starts, export, replay, price):
    main.add_command(_command)

"""The command line. Exit codes: 0 fine, 1 failed, 2 wrong use or wrong settings."""

import sys
from importlib import import_module
from io import TextIOWrapper
from typing import Any

import click

from exporter import __version__
from exporter.settings.flags import setting_flags

COMMANDS = {
    "check-config": ("check_config", "Check the settings, and print all problems at once."),
    "demo": ("run", "Run the exporter with a simulated proxy and invented traffic."),
    "export": ("export", "Write what is in the ledger to standard output."),
    "false-starts": ("false_starts", "List false starts, the newest first."),
    "import": ("import_past", "Import past requests from a file, each only once."),
    "limits": ("limits", "Print all limits and providers' windows, the fullest first."),
    "names": ("names", "Print each account and client with its label and owner."),
    "notify": ("notify", "Send a test message to those who are warned about limits."),
    "price": ("price", "Show the price of MODEL, its source, and a request's cost."),
    "replay": ("replay", "Try rejected records again, for example after an upgrade."),
    "report": ("report", "Print what was used in a range, summed by names or by time."),
    "run": ("run", "Run the exporter in the foreground until it is stopped."),
    "try-key": ("try_key", "Try a refused management key once, now."),
}
"""Commands by name: the module in ``exporter.commands``, and the first sentence of its help."""


class _Commands(click.Group):
    """Imports a command when it is used, because most need only a small part of the program."""

    def main(self, *args: Any, **extra: Any) -> Any:
        if isinstance(sys.stdout, TextIOWrapper):  # its encoding may lack a character; files and pipes get UTF-8
            sys.stdout.reconfigure(encoding=None if sys.stdout.isatty() else "utf-8", errors="replace")
        return super().main(*args, **extra)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module, _ = COMMANDS[cmd_name]
        found = vars(import_module(f"exporter.commands.{module}")).values()
        return next(each for each in found if isinstance(each, click.Command) and each.name == cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(
    cls=_Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example: CLIPROXY_MANAGEMENT_KEY=… cliproxy-exporter run",
)
@setting_flags
@click.version_option(__version__, prog_name="cliproxy-exporter")
@click.pass_context
def main(context: click.Context) -> None:
    """Prometheus exporter for CLIProxyAPI: what it costs, who used it, which account runs out.

    Without a command, it does `run`. Settings come from these flags, from the environment, from .env in this directory,
    and from the YAML file that EXPORTER_CONFIG names.
    """
    if context.invoked_subcommand is None:
        from exporter.commands.run import run  # noqa: PLC0415 - like any other command, when it is used

        context.invoke(run)

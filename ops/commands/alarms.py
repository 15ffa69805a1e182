"""`patchline alarms`: list, acknowledge and watch the alarms in Redis."""

import typer

app = typer.Typer(no_args_is_help=True, help="List, acknowledge and watch the alarms in Redis.")


@app.command("list")
def list_alarms() -> None:
    """Show alarms."""

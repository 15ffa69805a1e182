"""Examples under a command's options."""


def examples(*lines: str) -> str:
    """Command lines with what they do, as the epilog of `--help`: one paragraph each, as its renderer wants them."""
    return "[bold]Examples[/]\n\n" + "\n\n".join(f"[cyan]{line}[/]" for line in lines)

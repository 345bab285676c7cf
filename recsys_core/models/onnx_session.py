"""onnxruntime sessions, set up as this library wants them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from recsys_core import ops
from recsys_core.errors import FormatError

if TYPE_CHECKING:
    import onnxruntime as ort

__all__ = ["open_session"]


def open_session(model: str | os.PathLike[str] | bytes, what: str, *, n_threads: int = 0) -> ort.InferenceSession:
    """Open a model in onnxruntime, on the CPU.

    Parameters
    ----------
    model
        A file, or the bytes of one.
    what
        What it is, for the error.
    n_threads
        Threads of onnxruntime, 0 for all.

    Raises
    ------
    FormatError
        onnxruntime cannot read it.
    """
    # Imported late: a fitted model without a neural part never needs it.
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = n_threads or ops.max_threads()
    options.inter_op_num_threads = 1
    # Spinning threads steal the processor from the core's own pool between two requests.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    source = model if isinstance(model, bytes) else os.fspath(model)
    try:
        return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as cause:
        raise FormatError(f"{what}: onnxruntime cannot read it ({cause}); export it again.") from cause

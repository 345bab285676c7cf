"""What the compiled core runs on: its instruction set and its threads."""

from __future__ import annotations

from recsys_core import _core

__all__ = ["available_isas", "isa", "max_threads"]


def isa() -> str:
    """Name the instruction set that the kernels run on.

    It is chosen once a process: the environment variable ``RECSYS_ISA`` if set, else the widest that this machine has.

    Returns
    -------
    str
        One of :func:`available_isas`.

    Raises
    ------
    DeviceError
        ``RECSYS_ISA`` names an instruction set that is unknown or that this machine lacks.

    Examples
    --------
    >>> from recsys_core import ops
    >>> ops.isa() in ops.available_isas()
    True
    """
    return _core.isa()


def available_isas() -> list[str]:
    """List the instruction sets that were compiled in and that this machine has, narrowest first.

    Returns
    -------
    list of str
        Some of ``"baseline"`` (always there), ``"avx2"``, ``"avx512"``, ``"avx512vnni"``, ``"neon"``
        and ``"neondot"``.

    Examples
    --------
    >>> from recsys_core import ops
    >>> ops.available_isas()[0]
    'baseline'
    """
    return _core.available_isas()


def max_threads() -> int:
    """Count the threads that ``n_threads=0`` stands for.

    Returns
    -------
    int
        The processors in the process's affinity mask, or its control group's quota rounded up, whichever is smaller;
        at least 1.

    Examples
    --------
    >>> from recsys_core import ops
    >>> ops.max_threads() >= 1
    True
    """
    return _core.max_threads()

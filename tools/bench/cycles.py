"""Where the cycles of a request go: what profile.mjs counted, by part of the system and by Python function."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from tools.bench.elf import Symbols

BYTECODE = "mp_execute_bytecode"
PYTHON = "bytecode"
HEAP = "heap"
COLLECTIONS = "heap collections"
INTERRUPTS = "other interrupts"
# Part of the system -> functions that lead into it; the innermost one under way counts.
PARTS = {
    "PPP's UART": ("mp_machine_uart_read", "mp_machine_uart_write"),
    "lwIP and PPP input": ("network_ppp_poll",),
    "lwIP and PPP output": ("lwip_socket_write", "lwip_socket_send", "lwip_socket_sendall"),
    "socket read": ("lwip_socket_read", "lwip_socket_recv"),
    "poll": ("poll_iternext", "poll_ipoll", "poll_poll"),
    HEAP: ("gc_alloc", "gc_free", "gc_realloc"),
    COLLECTIONS: ("gc_collect",),  # apart: whether one falls into a few requests is chance
}
ORDER = (PYTHON, *PARTS, INTERRUPTS)
_UART_IRQ = "irq 36"  # UART0: exception 16 + 20


class Share(NamedTuple):
    """Cycles for each request."""

    name: str
    cycles: float
    calls: float = 0.0


def request(symbols: Symbols) -> dict[str, Any]:
    """As profile.mjs wants it. What this firmware does not have, or the linker has merged, is left out."""
    names = [name for functions in PARTS.values() for name in functions if name in symbols]
    return {"probes": [[symbols.address(name), name] for name in names], "bytecode": symbols.address(BYTECODE)}


def part(probe: str) -> str:
    """The part of the system that the innermost probe stands for."""
    for name, functions in PARTS.items():
        if probe in functions:
            return name
    if probe == _UART_IRQ:
        return "PPP's UART"
    return INTERRUPTS if probe.startswith("irq ") else PYTHON


def parts(calls: Iterable[tuple[int, str, float]], requests: int) -> list[Share]:
    """Cycles by part of the system, largest first."""
    total: Counter[str] = Counter()
    for _, probe, cycles in calls:
        total[part(probe)] += cycles  # type: ignore[assignment]
    return [Share(name, cycles / requests) for name, cycles in total.most_common()]


def functions(
    calls: Iterable[tuple[int, str, float]],
    entered: Iterable[tuple[int, int, int]],
    name: Callable[[int, int], str],
    requests: int,
) -> list[Share]:
    """Cycles by Python function, with the objects and the heap that it uses, but without sockets, interrupts and other
    Python functions; largest first."""
    total: Counter[str] = Counter()
    times: Counter[str] = Counter()
    named = {code: name(code, context) for code, context, _ in entered}
    for code, probe, cycles in calls:
        if code and part(probe) in (PYTHON, HEAP):
            total[named.get(code, "begun before")] += cycles  # type: ignore[assignment]
    for code, _, count in entered:
        times[named[code]] += count
    return [Share(each, cycles / requests, times[each] / requests) for each, cycles in total.most_common()]

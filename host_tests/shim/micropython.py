"""CPython stand-in for MicroPython's built-in `micropython` module: what device code names, without effect.

On the device the built-in always wins, so only CPython ever imports this file. Decorators hand the function
back unchanged: code under `viper` must therefore not use ptr8 and friends, or it runs on one of the two only.
Not here on purpose: `schedule` (the host's loop does that work) and everything that measures the real heap.
https://docs.micropython.org/en/latest/library/micropython.html
"""


def const(value):
    """The value itself; mpy-cross folds it where the name starts with an underscore."""
    return value


def native(function):
    """Unchanged: CPython has no native emitter."""
    return function


def viper(function):
    """Unchanged: CPython has no viper emitter."""
    return function


def opt_level(level=None):
    """Level 0, as asserts are compiled in; setting it does nothing."""
    return 0 if level is None else None


def alloc_emergency_exception_buf(size):
    """Nothing to reserve."""


def mem_info(verbose=None):
    """Nothing to print."""


def qstr_info(verbose=None):
    """Nothing to print."""


def stack_use():
    """0: not measured."""
    return 0


_locks = 0


def heap_lock():
    """Counts the lock depth as the real one does; allocation stays possible."""
    global _locks
    _locks += 1


def heap_unlock():
    """Lock depth after unlocking, as the real one returns it."""
    global _locks
    if _locks == 0:
        raise AssertionError("heap_unlock() without heap_lock()")
    _locks -= 1
    return _locks


def heap_locked():
    """Lock depth, 0 when unlocked."""
    return _locks


def kbd_intr(char):
    """Ctrl-C stays with the host."""

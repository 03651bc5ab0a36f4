"""Starts the gateway.

A start has failed when it has not run for a minute. The board counts starts (firmware.board, starts()): after three
that failed the gateway starts in safe mode, with its network and its page only, and after three more nothing is
started. A file /data/safe_mode (delete it to leave) has nothing started either, for a device whose firmware cannot be
reached. Ctrl-C ends the firmware with every socket closed and the watchdog released; the REPL stays, and run() starts
the gateway again (import main; main.run() where it was not main.py that started it).
"""

import gc
import os
import sys

_GC_BYTES = 4096  # allocated between two collections while the gateway is built
_SAFE_AFTER = 3  # failed starts
_NONE_AFTER = 6
_LOOP_WITHIN_S = 60


def _exists(path):
    try:
        os.stat(path)
    except OSError:
        return False
    return True


def _add_path():
    """Puts the folder of the packages on sys.path. On a board they lie in /lib, which is there already, or within the
    image; elsewhere in lib/ beside this file.

    A whole firmware in the file system goes before the one within the image, with its packages in /lib, so that a
    developer can try it. A folder firmware/ that holds less, left by an earlier image or a deploy that broke off, hides
    nothing; files that cannot be imported (half of a deploy, another MicroPython's) are given up by _load().
    """
    if ".frozen" in sys.path:
        sys.path.remove(".frozen")
        files = _exists("firmware/__init__.mpy") or _exists("firmware/__init__.py")
        sys.path.insert(len(sys.path) if files else 0, ".frozen")
    # The port itself starts main.py without a __file__.
    path = globals().get("__file__", "main.py")
    here = path.rsplit("/", 1)[0] if "/" in path else "."
    for folder in (here, here + "/lib"):
        if folder not in sys.path and folder not in (".", "./lib"):
            sys.path.append(folder)


def _write_use(good, trial, starts):
    with open("tree/use.new", "w") as f:
        f.write("%s %s %d" % (good, trial, starts))
    os.rename("tree/use.new", "tree/use")


def _write_failed(text):
    """Says why an update is taken back, for firmware.trees."""
    try:
        with open("tree/failed", "w") as f:
            f.write(text[:120])
    except OSError:
        pass  # no room: it is taken back all the same


def _is_of_this_image(tree):
    """False for a tree that an update has written beside another image: the one that was flashed since goes before
    it. True where the firmware is not within an image."""
    try:
        import image_id  # type: ignore[import-not-found]  # tools/build.py makes it
    except ImportError:
        return True
    try:
        with open("tree/%s/image" % tree, "rb") as f:
            return f.read(200) == image_id.ID + sys.version.encode()
    except OSError:
        return False


def _choose_tree():
    """(folder, has gone back): where the firmware that an update brought lies, "" for the one that came with the board.
    A tree on trial is left after three starts (firmware/trees.py has the files)."""
    try:
        with open("tree/use") as f:
            good, trial, starts = f.read().split(" ")
        starts = int(starts)
    except (OSError, ValueError):
        return "", False
    if trial in ("a", "b") and not _is_of_this_image(trial):
        return "", False
    goes_back = trial != good and starts >= _SAFE_AFTER
    if goes_back:
        _write_failed("it did not run for a minute in %d starts" % starts)
    if trial != good:
        try:
            _write_use(good, good if goes_back else trial, 0 if goes_back else starts + 1)
        except OSError:
            goes_back = True  # what cannot be counted is not tried
    tree = good if goes_back else trial
    return "tree/" + tree if tree in ("a", "b") else "", goes_back


def _use_tree(folder):
    """Puts the folder of a tree before all others, and forgets what was imported from another one."""
    for name in [path for path in sys.path if path.startswith("tree/")]:
        sys.path.remove(name)
    if folder:
        sys.path.insert(0, folder + "/lib")
        sys.path.insert(0, folder)


def _give_up(folder):
    """The folder to run instead of one that cannot be imported: the good one's, and after that what came with the
    board."""
    with open("tree/use") as f:
        good = f.read().split(" ")[0]
    if folder.endswith(good):
        good = "-"
    _write_use(good, good, 0)
    _forget_modules("tree/")
    return "" if good == "-" else "tree/" + good


def _forget_modules(begin):
    """Has what was imported from files whose path begins so imported anew."""
    for name in list(sys.modules):
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(begin):
            del sys.modules[name]


def _is_image_next():
    """Puts the firmware within the image before the files that cannot be imported; False where it is there already, or
    there is none."""
    if ".frozen" not in sys.path[1:]:
        return False
    sys.path.remove(".frozen")
    sys.path.insert(0, ".frozen")
    _forget_modules("firmware/")
    return True


def _load(folder):
    """Imports the firmware in that folder, or the one before it where that fails: (the board, firmware.app)."""
    while True:
        _use_tree(folder)
        try:
            from firmware import board

            port = board.detect()  # before the rest: it allocates large pieces (network, buffers)
            from firmware import app

            return port, app
        except Exception as error:
            if not folder:
                if not _is_image_next():
                    raise
                print("meterport: the firmware in /firmware is given up: %r" % error)
                continue
            print("meterport: the firmware in %s is given up: %r" % (folder, error))
            _write_failed("it cannot be imported: %r" % error)
            folder = _give_up(folder)


def _start_timer():
    """Starts a timer that restarts the board after a minute, and returns it; None on a development machine, which has
    none. Its callback runs between two instructions of the interpreter: what hangs in C code is not seen."""
    try:
        from machine import Timer, reset
    except ImportError:
        return None

    def restart(timer):
        print("meterport: the loop does not run after %d s, restarting" % _LOOP_WITHIN_S)
        reset()

    try:
        timer = Timer(-1)  # the only one of an RP2
    except ValueError:
        timer = Timer(0)  # an ESP32 has no other kind
    timer.init(mode=Timer.ONE_SHOT, period=1000 * _LOOP_WITHIN_S, callback=restart)
    return timer


def _stop_with_watchdog(timer, port):
    """Stops the timer when the firmware starts the watchdog of this board, which it does once its loop runs."""
    start = port.watchdog

    def watchdog(timeout_s):
        timer.deinit()
        start(timeout_s)

    port.watchdog = watchdog


def run(is_asked: bool = True) -> None:
    """Runs the gateway until Ctrl-C. A crash is recorded (firmware.crash) and restarts the device, after a pause in
    which Ctrl-C gives the REPL. `is_asked`: False for a start by the device itself, which after six that failed does
    nothing."""
    _add_path()
    # Collected this often, what stays lies together at one end of the heap, and not all over it amid garbage.
    # firmware.app sets another threshold for later.
    if hasattr(gc, "threshold"):
        gc.threshold(_GC_BYTES)
    folder, goes_back = _choose_tree()
    timer = _start_timer() if folder else None  # an update may hang before there is a watchdog
    try:
        port, app = _load(folder)
        failed = port.starts(0) if goes_back else port.starts()
        if failed >= _NONE_AFTER and not is_asked:
            print("meterport: %d starts have failed, the firmware is not started; run() starts it" % failed)
            return
        port.starts(failed + 1)
        if timer is not None:
            _stop_with_watchdog(timer, port)
        app.run(port, failed if failed >= _SAFE_AFTER else 0)
    finally:
        if timer is not None:
            timer.deinit()


if _exists("data/safe_mode"):
    print("meterport: safe mode (data/safe_mode exists), the firmware is not started")
elif __name__ == "__main__":
    try:
        run(False)
    except KeyboardInterrupt:
        print("meterport: stopped; run() starts it again")

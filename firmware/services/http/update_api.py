"""/api/update: an update in pieces, each of them a request, so that others are served between two (firmware.update).

POST {"step": "begin", ...} until it is ready; PUT ?at=N for each piece; POST {"step": "verify"} until it is verified;
POST {"step": "switch"}. The client paces it; nothing goes on by itself.
"""

from micropython import const

from firmware import VERSION, resources, trees, update
from firmware.services.http.config_api import begin_save, check_idle
from firmware.services.http.json_body import is_whole, object_of, unhex
from firmware.services.http.response import Refused, Response, to_json, write_json

_TYPING = const(0)
if _TYPING:
    from collections.abc import Iterator

    from firmware.services.http.config_api import Save
    from firmware.services.http.service import HttpService
    from http1 import Request

BODY_MAX = update.PIECE
_MOST = const(1 << 24)
_HEAP_OF_FILES = const(163840)  # free, for a tree of files in place of modules that lie in flash


def write_update(service: "HttpService", request: "Request") -> "Iterator[None]":
    """GET: the version that runs and from which tree, what the board takes, how far an update is, and why the last one
    was taken back."""
    found = service.update
    good, trial = trees.read()
    # One that goes back has written so already, and runs for another second.
    is_on_trial = good != trial or service.device.is_restarting
    write_json(service.out, {
        "version": "%d.%d.%d" % VERSION, "tree": trial, "on_trial": is_on_trial, "takes": _takes(service),
        "receiving": None if found is None else found.version,
        "received": 0 if found is None else found.received, "failed": trees.failure(),
    })  # fmt: skip
    yield


def put_piece(service: "HttpService", request: "Request") -> "Save":
    """Writes the next piece. `at` in the query: how many bytes have come before it. Raises Refused."""
    found = _under_way(service)
    at = request.query
    if at != b"at=%d" % found.received:
        raise Refused(409, "not the next piece: %d bytes have come" % found.received)
    data = request.body
    if not data:
        raise Refused(422, "nothing was written", ("package: an empty piece",))
    return _write(service, lambda: found.feed(data), {"received": found.received + len(data)})


def post_step(service: "HttpService", request: "Request") -> "Save | Response":
    """Begins an update, verifies what has come, or switches to it. Raises Refused."""
    fields = object_of(request.body)
    step = fields.get("step")
    if step == "begin":
        return _begin(service, fields)
    found = _under_way(service)
    if step == "verify":
        try:
            done = found.verify()
        except (ValueError, OSError) as error:
            abort(service, request)
            raise Refused(422, "the firmware stays as it is", (str(error),)) from None
        return Response(to_json({"verified": found.verified, "done": done}))
    if step == "switch":
        if not found.is_verified:
            raise Refused(409, "the package is not verified yet")

        def switch():
            found.switch()
            found.close()
            service.events.add("app", "updated to %s: on trial for a minute" % found.version)
            service.device.reboot()

        return _write(service, switch, {})
    raise Refused(422, "this is no step", ("step: must be begin, verify or switch",))


def abort(service: "HttpService", request: "Request") -> Response:
    """Gives an update up."""
    if service.update is not None:
        service.update.close()
    service.update = None
    return Response(b"{}")


def _begin(service, fields):
    texts = [fields.get(name) for name in ("version", "digest", "mac")]
    numbers = [fields.get(name) for name in ("manifest", "total")]
    if (
        any([not isinstance(text, str) or len(text) > 64 for text in texts])
        or len(unhex(fields.get("signature", ""))) not in (0, 64)
        or len(unhex(texts[1])) != 32
        or len(unhex(texts[2])) != 32
        or any([not is_whole(number, 1, _MOST) for number in numbers])
        or not isinstance(fields.get("older"), bool)
    ):
        raise Refused(422, "this is no update", ("version, digest, mac, manifest, total, older: see the reference",))
    board = service.device.board
    slot = None
    if fields.get("kind") == "image":
        slot = _slot(board)
    elif not _has_heap_for_files(board):
        raise Refused(409, "this board runs its firmware from flash and has no memory for files: flash a new image")
    if not service.password.is_set:
        raise Refused(409, "a password must be set first")
    found = service.update
    if found is None or found.received or found.version != texts[0]:
        abort(service, None)
        try:
            release_key = service.config_store.config["system"]["release_key"]
            found = update.Update(fields, update.key(service.password.server_key), slot, release_key)
        except ValueError as error:
            raise Refused(422, "the firmware stays as it is", (str(error),)) from None
        service.update = found
    answer: dict = {"ready": False}

    def prepare():
        answer["ready"] = found.prepare()
        saved.body = to_json(answer)

    saved = Response(to_json(answer))
    return _write(service, prepare, None, saved)


def _takes(service):
    """The kind of package that this board takes: "files" or "image"; "" for none."""
    board = service.device.board
    if _has_heap_for_files(board):
        return "files"
    try:
        _slot(board)
    except Refused:
        return ""
    return "image"


def _has_heap_for_files(board):
    return not resources.FROZEN or not 0 < board.heap()[0] < _HEAP_OF_FILES


def _slot(board):
    """The slot for an image. Raises Refused."""
    if not hasattr(board, "image_slot"):
        raise Refused(409, "this kind of board takes an image by cable only")
    try:
        return board.image_slot()
    except OSError as error:
        raise Refused(409, error.args[-1]) from None


def _under_way(service):
    if service.update is None:
        raise Refused(409, "no update is under way")
    return service.update


def _write(service, write, document, saved=None):
    """Has the buses rest, writes, answers. An update that meets an error is given up."""
    check_idle(service)

    def attempt():
        try:
            write()
        except OSError as error:
            abort(service, None)
            raise ValueError("package: not taken: %r" % error) from None
        except Exception:
            abort(service, None)
            raise

    return begin_save(service, attempt, saved or Response(to_json(document)))

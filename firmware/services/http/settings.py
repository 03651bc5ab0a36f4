"""GET of the configuration, as the user wrote it but without its secrets; and what a save writes, with the secrets
that it does not name."""

import json

from firmware.config import json_file

PATH = "data/config.json"
LAST_GOOD = "data/config.good"
SECRETS = (("network", "password"),)  # one of a section at most
_PIECE = 256


def answer(app, request, body, connection):
    """As firmware.services.http.api.Api.call."""
    extra: tuple = ()
    if request.query == "download=1":
        name = "".join([one if "a" <= one.lower() <= "z" or one in "0123456789-" else "_" for one in app.name()])
        extra = (("Content-Disposition", 'attachment; filename="%s.json"' % name),)
    path, begin = _readable(app)
    return (iter(("{}",)) if path is None else _rewritten(path, begin, _hide, {})), extra


def _readable(app):
    """(path, where the JSON begins) of what the user wrote, or when that is damaged of the last good copy; (None, 0)
    without either."""
    try:
        _walk(app, PATH)
        return PATH, 0
    except (OSError, ValueError):
        from firmware.config import store

        return store.newest(LAST_GOOD) or (None, 0)


def saved(app, upload):
    """The content of the file that `upload` shall become, in pieces of bytes."""
    return _rewritten(upload, 0, _keep, _secrets(app))


def _walk(app, path):
    import strict_json

    try:
        with open(path, "rb") as f:
            strict_json.check(f)
    finally:
        app.forget("strict_json")


def _secrets(app):
    """{section: secret} of those that are there: in the file, or else in what the device runs by."""
    found = {section: app.config[section][key] for section, key in SECRETS}
    keys = dict(SECRETS)
    try:
        with open(PATH, "rb") as f:
            for section, begin, end in json_file.members(f):
                if section in keys:
                    found[section] = json_file.value(f, begin, end).get(keys[section], "")
    except (OSError, ValueError, AttributeError):
        pass  # a damaged file: what the device runs by was loaded before it was
    return {section: found[section] for section in found if found[section]}


def _hide(section, key, secrets):
    section.pop(key, None)


def _keep(section, key, secrets):
    if key not in section and secrets:
        section[key] = secrets


def _rewritten(path, begin, change, secrets):
    """The JSON that begins there, in pieces, with its secrets changed."""
    keys = dict(SECRETS)
    before = "{"
    with open(path, "rb") as f:
        for name, first, end in json_file.members(f, begin):
            yield ("%s%s:" % (before, json.dumps(name))).encode()
            before = ",\n"
            key = keys.pop(name, None)
            if key is None:
                while first < end:
                    f.seek(first)
                    piece = f.read(min(_PIECE, end - first))
                    first += len(piece)
                    yield piece
                continue
            section = json_file.value(f, first, end)
            if isinstance(section, dict):
                change(section, key, secrets.get(name))
            yield json.dumps(section).encode()
    for name, key in keys.items():
        if name in secrets:
            yield ("%s%s:%s" % (before, json.dumps(name), json.dumps({key: secrets[name]}))).encode()
            before = ",\n"
    yield b"{}" if before == "{" else b"}\n"

"""PUT of the configuration. It is checked by the rules of the boot, saved all or not at all, and used from the next
boot on; the last good copy stays as it is until then.

What that needs is loaded in turn and given back in between: together it would not fit beside the running firmware.
"""

from firmware.services.http.upload import PATH as UPLOAD

_FILE_MAX = 12288


def run(app, body):
    """(what is wrong with the configuration that `body` has taken, what waits for a reboot once it is saved). Raises
    MemoryError."""
    body.close()
    errors = []
    try:
        _walk(app)
        buses = _check_sections(app, errors)
        _check_lists(app, buses, _profile_errors(app), errors)
    except ValueError as error:
        errors.append("configuration: not JSON: %s" % error)
    if not errors:
        _write(app, errors)
    if errors:
        return errors[:12], ()
    app.look_at_config(True)
    return (), list(app.reboot_due())


def _walk(app):
    import strict_json

    with open(UPLOAD, "rb") as f:
        strict_json.check(f)
    app.forget("strict_json")


def _check_sections(app, errors):
    """How many buses there are."""
    from firmware.config import check as config_check
    from firmware.config import sections as config_sections

    config = config_check.sections(UPLOAD, errors)
    if not errors:
        config_sections.check(config, errors)
    app.forget("firmware.config.sections")
    return len(config["buses"])


def _profile_errors(app):
    from firmware.config import profile_check

    app.forget("firmware.config.check", "firmware.config.rules", "firmware.config.schema")
    found = profile_check.errors_of(UPLOAD)
    app.forget("firmware.config.profile_check", "firmware.meters.profile_loader", "strict_json")
    return found


def _check_lists(app, buses, profile_errors, errors):
    from firmware.config import check as config_check
    from firmware.config import lists as config_lists

    cross = config_lists.Cross(buses, profile_errors.get)
    config_check.lists(UPLOAD, {"routes": cross.route, "meters": cross.meter}.get, errors)
    app.forget("firmware.config.check", "firmware.config.lists", "firmware.config.rules", "firmware.config.schema")


def _write(app, errors):
    from firmware.config import store
    from firmware.services.http import settings

    size = sum([len(piece) for piece in settings.saved(app, UPLOAD)])
    if size > _FILE_MAX:
        errors.append("configuration: %d bytes, with its secrets, are more than %d" % (size, _FILE_MAX))
    else:
        try:
            store.write(settings.PATH, settings.saved(app, UPLOAD))
        except OSError as error:
            errors.append("configuration: it cannot be written: %r" % error)

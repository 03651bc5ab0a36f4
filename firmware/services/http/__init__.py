"""The web server: HTTP/1.1 (RFC 9110, RFC 9112) for one page and a JSON API (docs/reference/http.md).

    service.py          the service: its parts, buffers and counters
    connection.py       one connection: glue between net.listener and the two below
    request_reader.py   bytes in, requests out; no I/O
    response_writer.py  responses in, blocks of bytes out; no I/O
    gate.py             paths and their handlers; what of a request is settled before its body
    response.py         what handlers are written with: responses, errors, JSON out
    json_body.py        JSON in
    page_file.py        the page; page/ is what it is made of
    documents/          GET: one module for each subject
    sessions.py         /api/session, login, logout, password
    logins.py           what proves a password, and how often it may be tried
    config_api.py       /api/config, schema, profiles
    commands.py         read, time, reboot, factory reset

A handler is a function of the service and a request (http1.Request, with `body` and `session`). It returns a Response
or a Later and raises what response.call() knows; one that is a generator writes a document to the service's sink.
"""

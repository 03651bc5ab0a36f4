"""The web server: HTTP/1.1 (RFC 9110, RFC 9112) for one page and a JSON API (docs/reference/http.md).

    service.py          the service: builds all of this, ticks, counts
    connection.py       one browser: glue between the two below and net.listener
    request_reader.py   bytes in, requests out; no I/O
    response_writer.py  responses in, blocks of bytes out; no I/O
    response.py         what a handler gives: Response, or Later
    gate.py             what of a request is settled before its body: path, method, host, origin, session
    errors.py           the one place that makes a response of an exception
    sessions.py         who is logged in
    logins.py           who may try to log in, and what proves a password
    json_body.py        what a small body says
    page_file.py        the page; page/ is what it is made of
    documents/          GET: one module for each
    session_api.py      /api/session, login, logout, password
    config_api.py       /api/config
    commands.py         read, time, reboot, factory reset

A handler is a function of a request (request_reader.py) that returns a Response or a Later and raises what errors.py
knows. It belongs to an object that was given exactly what it uses.
"""

"""Posts what the meters said to a web server of the user's, and loses nothing while that server is away.

present.py   where history.flash is off: the present readings, in the shape of firmware.history.records
formats.py   the bodies, and which answers say that one has arrived
exchange.py  one request and its answer, through one buffer
service.py   when, what the answer means, and what comes next
"""

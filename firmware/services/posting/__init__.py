"""Posts what the meters said to a web server of the user's, and loses nothing while that server is away.

records.py   what is posted: records of flash from a durable cursor on, or without them the present readings
formats.py   the bodies, and which answers say that one has arrived
exchange.py  one request and its answer, through one buffer
service.py   when, what the answer means, and what comes next
"""

"""Many gateways in one process against a real MQTT broker or database: the firmware's own services, cursors and records
on flash, each with a clock and a folder of its own, in a time that jumps.

    clock.py      the loop: time jumps to what comes next, but never while a broker owes an answer
    senders.py    a gateway: made of firmware/services/mqtt or posting, firmware/history and a TcpClient that counts
    receiver.py   subscribes to what all of them send
    database.py   what gateways that post have left in VictoriaMetrics
    ledger.py     what was made and what has arrived
    run.py        all of it together, with outages and restarts
    arithmetic.py messages, bytes and storage of fleets of other sizes
"""

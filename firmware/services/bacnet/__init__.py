"""BACnet/IP server (docs/reference/bacnet.md): service.py has its socket, requests.py answers, objects.py is what there
is to read, subscriptions.py tells of changes, segments.py sends answers that are longer than a datagram."""

"""Runs in a namespace: `zeroconf_client.py OWN SECONDS TYPE ...` browses for services of these types by
python-zeroconf; prints as one JSON document what it found, each within SECONDS."""

import json
import socket
import sys
import threading

from zeroconf import ServiceBrowser, ServiceListener, Zeroconf

FOUND_MS = 5000


class Listener(ServiceListener):
    def __init__(self):
        self.names = {}
        self.changed = threading.Condition()

    def add_service(self, zeroconf, kind, name):
        with self.changed:
            self.names[kind] = name
            self.changed.notify()

    def remove_service(self, zeroconf, kind, name):
        pass

    def update_service(self, zeroconf, kind, name):
        pass


def main(own, seconds, kinds):
    zeroconf = Zeroconf(interfaces=[own])
    listener = Listener()
    try:
        ServiceBrowser(zeroconf, kinds, listener)
        with listener.changed:
            listener.changed.wait_for(lambda: len(listener.names) == len(kinds), seconds)
        found = {}
        for kind, name in listener.names.items():
            info = zeroconf.get_service_info(kind, name, FOUND_MS)
            if info is not None:
                told = {key.decode(): (value or b"").decode() for key, value in info.properties.items()}
                addresses = [socket.inet_ntoa(each) for each in info.addresses]
                found[kind] = [name, info.server, info.port, addresses, told]
        print(json.dumps(found))
    finally:
        zeroconf.close()


main(sys.argv[1], float(sys.argv[2]), sys.argv[3:])

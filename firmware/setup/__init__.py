"""Set-up mode of a device that knows no Wi-Fi network yet: an access point of its own, with a page that sets one.

    setup.py    the access point, tries of networks, the save
    console.py  Improv on the console's line
    portal.py   its page, the answers to the probes of phones and computers, DNS

Imported in set-up mode only.
"""

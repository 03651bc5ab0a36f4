"""BACnet/IP (ANSI/ASHRAE 135-2012): bvlc.py (Annex J), npdu.py (clause 6), apdu.py and tags.py (clause 20).

Codecs only: no socket, no clock. A datagram is read where it lies and an answer is written into the caller's buffer;
neither takes heap, but for a text or an address that the caller asks for.
"""

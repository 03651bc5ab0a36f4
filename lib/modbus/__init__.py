"""Modbus codecs without I/O: bytes in, numbers and lengths out.

crc  - CRC-16 of the serial line
pdu  - function codes, limits and exceptions (Application Protocol V1.1b3)
rtu  - serial frames: build, cut, match (Serial Line V1.02)
tcp  - the MBAP header (Messaging on TCP/IP Implementation Guide V1.0b)

The caller owns every buffer; nothing here keeps a reference to one.
"""

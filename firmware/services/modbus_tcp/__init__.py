"""Modbus TCP: server.py (connections), unit255.py (the gateway as a Modbus device)."""

"""SNTP client: client.py."""

"""The web server: server.py (connections), guard.py (sessions), api.py (paths), page/ (what the page is made of)."""

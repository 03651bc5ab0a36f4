"""The web server: server.py (connections and routes), api.py (JSON), page.html (the one page)."""

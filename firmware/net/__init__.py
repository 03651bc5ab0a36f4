"""The network side: the seam to event loop and sockets, the budget of 16 sockets, listeners, UDP, DNS, link."""

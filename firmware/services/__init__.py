"""What the gateway offers to the network. Each service is a package of its own, imported only when it is enabled, and
knows nothing of the others."""

"""One meter as a Shelly Pro 3EM, for home batteries."""

"""MQTT client: what a broker is told of the meters, and Home Assistant of their entities."""

from servers.mosquitto import broker

__all__ = ["broker"]

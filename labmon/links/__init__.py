"""Links: bytes to and from instruments. The only place that knows serial ports, sockets and framings."""

"""Free ports of loopback that stay free."""

import random
import socket

# Below the ports that the kernel gives to outgoing connections (net.ipv4.ip_local_port_range): a
# replica that is stopped for a while finds its port free when it starts again.
FIRST, LAST = 12000, 32000
_taken: set[int] = set()


def free_port() -> int:
    """Returns a port that nothing listens on, and that this process has not returned before."""
    while True:
        port = random.randint(FIRST, LAST)
        if port in _taken:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _taken.add(port)
        return port

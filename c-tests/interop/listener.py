"""A receiver that tells what happens to it: listener.py GROUP PORT udp|native SESSIONS

Takes that many sessions of `sockets send`, each in a thread, checks every octet of every message (pattern.h, messages of
8 octets and more), and writes a line of JSON when a silence is over and when a session ends. Times are CLOCK_MONOTONIC.
"""

import errno
import json
import socket
import struct
import sys
import threading
import time

SILENCE = 0.4
IPPROTO_PGM, RM_RECEIVER_STATISTICS = 113, 1013
FILLING = bytes(at * 31 & 0xFF for at in range(256)) * 600
MASK = 0xFFFFFFFF


def mix(x):
    """As in pattern.h."""
    x ^= x >> 16
    x = x * 0x7FEB352D & MASK
    x ^= x >> 15
    x = x * 0x846CA68B & MASK
    return x ^ x >> 16


# Where in FILLING the octets begin with this value.
START = {FILLING[at]: at for at in range(256)}


def intact(message):
    """Whether the octets are those of the message's number."""
    number = int.from_bytes(message[:8], sys.byteorder)
    at = START[mix(number ^ 0x9E3779B9) & 0xFF]
    return message[8:] == FILLING[at + 8 : at + len(message)]


def tell(**what):
    """One line."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def session(number, connection):
    """Read to the end."""
    first, following, end, last = None, None, None, time.monotonic()
    while end is None:
        try:
            message = connection.recv(1 << 17)
        except OSError as error:
            end = errno.errorcode[error.errno]
            break
        now = time.monotonic()
        if not message:
            end = "fin"
        else:
            index = int.from_bytes(message[:8], sys.byteorder)
            if not intact(message):
                end = f"message {index} is damaged"
            elif first is not None and index != following:
                end = f"message {index} instead of {following}"
            elif now - last > SILENCE and first is not None:
                tell(session=number, resumed=now, silence=now - last)
            first = index if first is None else first
            following, last = index + 1, now
    at = time.monotonic()
    statistics = connection.getsockopt(IPPROTO_PGM, RM_RECEIVER_STATISTICS, 144)
    odata, repairs = struct.unpack_from("=2Q", statistics)
    tell(session=number, first=first, following=following, end=end, at=at, last=last, odata=odata, repairs=repairs)


def main():
    group, port, carriage, sessions = sys.argv[1:]
    listener = socket.socket(socket.AF_INET, socket.SOCK_RDM, 113 if carriage == "native" else 17)
    listener.bind((group, int(port)))
    listener.listen()
    tell(ready=True)
    threads = []
    for number in range(int(sessions)):
        connection, _ = listener.accept()
        tell(session=number, began=time.monotonic())
        threads.append(threading.Thread(target=session, args=(number, connection)))
        threads[-1].start()
    for thread in threads:
        thread.join()


main()

"""Our side of ZeroMQ's PGM transports, plain sockets: zmtp.py pub|sub GROUP PORT udp|native COUNT

An APDU is two octets, the offset of the first message that begins in it (0xffff: none), then a piece of the stream of
ZMTP/1.0 frames: length with flags (an octet, or 0xff and eight), flags (1: more parts follow), body.
"""

import socket
import struct
import sys
import time

NONE = 0xFFFF


def body(i):
    """As in zeromq.c."""
    length = 7000 if i % 10 == 9 else 50 + i % 400
    return bytes((i + at * 31) & 0xFF for at in range(length))


def frame(part, more):
    """One frame."""
    length = len(part) + 1
    head = bytes([length]) if length < 255 else b"\xff" + struct.pack(">Q", length)
    return head + bytes([more]) + part


def publish(group, port, protocol, count):
    s = socket.socket(socket.AF_INET, socket.SOCK_RDM, protocol)
    s.connect((group, port))
    for i in range(count):
        message = frame(str(i).encode(), 1) + frame(body(i), 0)
        # A long one in pieces, of which only the first begins a message; short ones by twos would do as well.
        for at in range(0, len(message), 1400):
            s.send(struct.pack(">H", NONE if at else 0) + message[at : at + 1400])
        if i % 4 == 3:
            time.sleep(0.002)
    s.close()
    print("sent", count, flush=True)


def frames(session):
    """The frames of a session: (part, more)."""
    stream, joined = b"", False
    while apdu := session.recv(1 << 17):
        (offset,) = struct.unpack_from(">H", apdu)
        if not joined and offset == NONE:
            continue
        stream += apdu[2:] if joined else apdu[2 + offset :]
        joined = True
        while stream:
            length, head = stream[0], 1
            if length == 255:
                if len(stream) < 9:
                    break
                (length,), head = struct.unpack_from(">Q", stream, 1), 9
            if len(stream) < head + length:
                break
            yield stream[head + 1 : head + length], stream[head] & 1
            stream = stream[head + length :]


def subscribe(group, port, protocol, count):
    s = socket.socket(socket.AF_INET, socket.SOCK_RDM, protocol)
    s.bind((group, port))
    s.listen()
    print("ready", flush=True)
    s.settimeout(20)
    session, _ = s.accept()
    session.settimeout(20)
    parts = frames(session)
    for i in range(count):
        number, more = next(parts)
        content, last = next(parts)
        if (int(number), more, last) != (i, 1, 0) or content != body(i):
            sys.exit(f"message {i} expected, {number} received, {len(content)} octets")
    print("received", count, flush=True)


def main():
    role, group, port, carriage, count = sys.argv[1:]
    run = publish if role == "pub" else subscribe
    run(group, int(port), 113 if carriage == "native" else 17, int(count))


main()

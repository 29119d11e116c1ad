"""One end of a flow that takes what it can get: flow.py send|recv udp|native|tcp ADDRESS PORT SECONDS

A receiver writes a line of JSON: how it ended, and the octets that came in each half second of CLOCK_MONOTONIC.
"""

import collections
import errno
import json
import socket
import sys
import time

PROTOCOLS = {"udp": 17, "native": 113}


def send(flow, address, seconds):
    """Send until the time is over."""
    flow.connect(address)
    until = time.monotonic() + seconds
    message = bytes(1400)
    while time.monotonic() < until:
        flow.send(message)


def receive(listener, address):
    """Take one flow to its end."""
    listener.bind(address)
    listener.listen()
    print("ready", flush=True)
    flow, _ = listener.accept()
    octets, end = collections.Counter(), "fin"
    try:
        while data := flow.recv(65536):
            octets[int(time.monotonic() * 2)] += len(data)
    except OSError as error:
        end = errno.errorcode[error.errno]
    print(json.dumps({"end": end, "octets": octets}), flush=True)


def main():
    role, kind, address, port, seconds = sys.argv[1:]
    if kind in PROTOCOLS:
        flow = socket.socket(socket.AF_INET, socket.SOCK_RDM, PROTOCOLS[kind])
    else:
        flow = socket.socket()
        flow.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if role == "send":
        send(flow, (address, int(port)), float(seconds))
    else:
        receive(flow, (address, int(port)))


main()

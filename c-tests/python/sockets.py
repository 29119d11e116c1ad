"""PGM from Python's own socket module: blocking, with time-outs, with selectors and with asyncio.

Run under the preload library: sockets.py PROTOCOL, which is 17 (PGM in UDP) or 113 (native).
"""

import asyncio
import selectors
import socket
import sys

PROTOCOL = int(sys.argv[1])
GROUP = "239.192.77.1"


def listener(port):
    """A socket listening on the group."""
    s = socket.socket(socket.AF_INET, socket.SOCK_RDM, PROTOCOL)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((GROUP, port))
    s.listen(5)
    return s


def sender(port):
    """A socket connected to the group."""
    s = socket.socket(socket.AF_INET, socket.SOCK_RDM, PROTOCOL)
    s.connect((GROUP, port))
    return s


def blocking():
    """send, sendall, sendmsg; recv, recv_into, recvmsg, recvfrom; the end; addresses; with-statements."""
    with listener(7601) as rx, sender(7601) as tx:
        assert (tx.family, tx.type, tx.proto) == (socket.AF_INET, socket.SOCK_RDM, PROTOCOL)
        assert tx.getpeername() == (GROUP, 7601) and rx.getsockname() == (GROUP, 7601)
        assert tx.send(b"one") == 3
        tx.sendall(b"two" * 20000)
        assert tx.sendmsg([b"th", b"ree"]) == 5
        session, source = rx.accept()
        with session:
            assert source == tx.getsockname() == session.getpeername(), (source, tx.getsockname())
            assert session.recv(100) == b"one"
            buffer = bytearray(70000)
            assert session.recv_into(buffer) == 60000 and buffer[:6] == b"twotwo"
            data, ancillary, flags, _ = session.recvmsg(3)
            assert (data, ancillary, flags & socket.MSG_EOR) == (b"thr", [], 0)
            data, ancillary, flags, _ = session.recvmsg(100)
            assert data == b"ee" and flags & socket.MSG_EOR
            tx.send(b"four")
            data, name = session.recvfrom(100)
            assert (data, name) == (b"four", source)
            tx.close()
            assert session.recv(100) == b"" and session.recv(100) == b""


def timeouts():
    """settimeout on accept and recv: Python makes the socket non-blocking and polls."""
    with listener(7602) as rx:
        rx.settimeout(0.1)
        try:
            rx.accept()
            raise AssertionError("accepted nothing")
        except TimeoutError:
            pass
        with sender(7602) as tx:
            tx.settimeout(5)
            tx.send(b"x")
            rx.settimeout(5)
            session, _ = rx.accept()
            with session:
                assert session.recv(10) == b"x"
                session.settimeout(0.1)
                try:
                    session.recv(10)
                    raise AssertionError("received nothing")
                except TimeoutError:
                    pass
                session.setblocking(False)
                try:
                    session.recv(10)
                    raise AssertionError("received nothing")
                except BlockingIOError:
                    pass


def with_selector(kind, port):
    """One selector over a listener, its sessions and a sender."""
    received = []
    with kind() as selector, listener(port) as rx, sender(port) as tx:
        rx.setblocking(False)
        tx.setblocking(False)
        selector.register(rx, selectors.EVENT_READ, "listener")
        selector.register(tx, selectors.EVENT_WRITE, "sender")
        sent = 0
        while len(received) < 101:
            events = selector.select(5)
            assert events, received
            for key, _ in events:
                if key.data == "listener":
                    session, _ = rx.accept()
                    session.setblocking(False)
                    selector.register(session, selectors.EVENT_READ, "session")
                elif key.data == "sender":
                    tx.send(b"message %d" % sent)
                    sent += 1
                    if sent == 100:
                        selector.unregister(tx)
                        tx.shutdown(socket.SHUT_WR)
                else:
                    data = key.fileobj.recv(1000)
                    received.append(data)
                    if not data:
                        selector.unregister(key.fileobj)
                        key.fileobj.close()
    assert received == [b"message %d" % i for i in range(100)] + [b""], received


async def with_asyncio():
    """The event loop's socket calls."""
    loop = asyncio.get_running_loop()
    with listener(7606) as rx, sender(7606) as tx:
        rx.setblocking(False)
        tx.setblocking(False)

        async def receive():
            session, _ = await loop.sock_accept(rx)
            with session:
                messages = []
                while data := await loop.sock_recv(session, 1000):
                    messages.append(data)
                return messages

        task = asyncio.create_task(receive())
        for i in range(50):
            await loop.sock_sendall(tx, b"%d" % i)
        tx.shutdown(socket.SHUT_WR)
        assert await asyncio.wait_for(task, 10) == [b"%d" % i for i in range(50)]


def errors():
    """What Python raises."""
    with socket.socket(socket.AF_INET, socket.SOCK_RDM, PROTOCOL) as s:
        for call, kind in ((lambda: s.send(b"x"), OSError), (lambda: s.listen(1), OSError)):
            try:
                call()
                raise AssertionError("no error")
            except kind as e:
                assert e.errno, e


for test in (blocking, timeouts, errors):
    test()
    print("ok", test.__name__, flush=True)
for number, selector_kind in enumerate(
    (selectors.SelectSelector, selectors.PollSelector, selectors.EpollSelector)
):
    with_selector(selector_kind, 7603 + number)
    print("ok", selector_kind.__name__, flush=True)
asyncio.run(with_asyncio())
print("ok asyncio", flush=True)

"""PGM in Python's servers and event loops, and PGM sockets handed from process to process.

Run under the preload library: servers.py PROTOCOL [TEST...], where PROTOCOL is 17 (PGM in UDP) or 113 (native).
"""

import array
import asyncio
import faulthandler
import multiprocessing
import multiprocessing.reduction
import os
import socket
import socketserver
import sys
import threading
import traceback

PROTOCOL = int(sys.argv[1])
GROUP = "239.192.77.2"
LIMIT = 20


def listener(port, kind=socket.SOCK_RDM):
    """A socket listening on the group."""
    s = socket.socket(socket.AF_INET, kind, PROTOCOL)
    s.bind((GROUP, port))
    s.listen(5)
    s.settimeout(LIMIT)
    return s


def sender(port, kind=socket.SOCK_RDM):
    """A socket connected to the group."""
    s = socket.socket(socket.AF_INET, kind, PROTOCOL)
    s.settimeout(LIMIT)
    s.connect((GROUP, port))
    return s


def messages(name, count=20):
    """What one sender says."""
    return [b"%s %d\n" % (name, i) for i in range(count)]


def say(tx, texts):
    """Each text as a message, then the end, even where a forked child still has the sender open."""
    for text in texts:
        tx.sendall(text)
    tx.shutdown(socket.SHUT_WR)
    tx.close()


def hear(session):
    """All messages up to the end."""
    session.settimeout(LIMIT)
    with session:
        heard = []
        while message := session.recv(1000):
            heard.append(message)
        return heard


# ---- socketserver ----


def serve(kind, port):
    """A server of the standard library: two sessions, read line by line, reported through a pipe."""
    report, reporter = os.pipe()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            lines = list(self.rfile)
            os.write(reporter, b"%s %d\n" % (lines[0].split()[0], len(lines)))

    class Server(kind):
        request_queue_size = 5

        def __init__(self):
            super().__init__((GROUP, port), Handler, bind_and_activate=False)
            self.socket.close()
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_RDM, PROTOCOL)
            self.server_bind()
            self.server_activate()

    with Server() as server:
        assert server.server_address == (GROUP, port)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            for name in (b"one", b"two"):
                say(sender(port), messages(name))
            with os.fdopen(report, "rb") as lines:
                assert sorted(lines.readline() for _ in range(2)) == [b"one 20\n", b"two 20\n"]
        finally:
            server.shutdown()
            thread.join(LIMIT)
            os.close(reporter)


def socketserver_plain():
    """One session after the other."""
    serve(socketserver.TCPServer, 7701)


def socketserver_threads():
    """A thread for each session."""
    serve(socketserver.ThreadingTCPServer, 7702)


def socketserver_forks():
    """A process for each session."""
    serve(socketserver.ForkingTCPServer, 7703)


# ---- asyncio ----


class Collector(asyncio.Protocol):
    """Keeps what it is given until the connection is lost."""

    def __init__(self):
        self.heard = []
        self.ended = asyncio.get_running_loop().create_future()

    def data_received(self, data):
        self.heard.append(data)

    def connection_lost(self, exc):
        if exc:
            self.ended.set_exception(exc)
        else:
            self.ended.set_result(None)


async def pipe_transports():
    """Protocols over message sockets: asyncio's stream transports want SOCK_STREAM, its pipe transports any."""
    loop = asyncio.get_running_loop()
    with listener(7704) as rx:
        rx.setblocking(False)
        tx = sender(7704)
        tx.setblocking(False)
        writing, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, tx)
        for text in messages(b"pipe"):
            writing.write(text)
        session, _ = await asyncio.wait_for(loop.sock_accept(rx), LIMIT)
        session.setblocking(False)
        _, collector = await loop.connect_read_pipe(Collector, session)
        writing.close()
        await asyncio.wait_for(collector.ended, LIMIT)
        assert collector.heard == messages(b"pipe"), collector.heard


async def readers():
    """add_reader and add_writer."""
    loop = asyncio.get_running_loop()
    with listener(7705) as rx, sender(7705) as tx:
        to_say, heard, done = messages(b"reader"), [], loop.create_future()

        def write():
            if to_say:
                tx.send(to_say.pop(0))
            else:
                loop.remove_writer(tx)
                tx.shutdown(socket.SHUT_WR)

        def accept():
            session, _ = rx.accept()
            session.setblocking(False)
            loop.add_reader(session, read, session)

        def read(session):
            message = session.recv(1000)
            if message:
                heard.append(message)
            else:
                loop.remove_reader(session)
                session.close()
                done.set_result(None)

        tx.setblocking(False)
        loop.add_reader(rx, accept)
        loop.add_writer(tx, write)
        await asyncio.wait_for(done, LIMIT)
        loop.remove_reader(rx)
        assert heard == messages(b"reader"), heard


async def stream_transports():
    """Stream mode is what asyncio takes for TCP: streams, create_connection, create_server."""
    if PROTOCOL != 113:
        return
    done = asyncio.get_running_loop().create_future()

    async def serve_session(reader, writer):
        data = await reader.read()
        writer.close()
        done.set_result(data)

    server = await asyncio.start_server(serve_session, sock=listener(7706, socket.SOCK_STREAM))
    async with server:
        _, writer = await asyncio.open_connection(sock=sender(7706, socket.SOCK_STREAM))
        for text in messages(b"stream"):
            writer.write(text)
            await writer.drain()
        writer.close()
        assert await asyncio.wait_for(done, LIMIT) == b"".join(messages(b"stream"))


# ---- from process to process ----


def child_of_socket(session, result):
    """Read a session that was made elsewhere, pickled by multiprocessing."""
    what = (session.family, session.type, session.proto)
    result.send((what, session.getpeername(), hear(session)))


def child_of_handle(link, result):
    """The same with a bare handle."""
    fd = multiprocessing.reduction.recv_handle(link)
    result.send((None, None, hear(socket.socket(socket.AF_INET, socket.SOCK_RDM, PROTOCOL, fileno=fd))))


def accept_and_share(method, port, target, share):
    """Accept here, read there: in a process made by `method`."""
    context = multiprocessing.get_context(method)
    ours, theirs = context.Pipe()
    with listener(port) as rx, sender(port) as tx:
        tx.send(b"first\n")
        session, source = rx.accept()
        process, early = share(context, theirs, target, session)
        session.close()
        say(tx, messages(b"shared"))
        assert ours.poll(LIMIT), "nothing from the child"
        what, peer, heard = ours.recv()
        process.join(LIMIT)
        assert process.exitcode == 0, process.exitcode
        assert what in (None, (socket.AF_INET, socket.SOCK_RDM, PROTOCOL)), what
        assert peer in (None, source), (peer, source)
        assert heard == [b"first\n"] + messages(b"shared"), heard
    del early


def as_argument(context, result, target, session):
    """The socket object itself."""
    process = context.Process(target=target, args=(session, result))
    process.start()
    return process, None


def as_handle(context, result, target, session):
    """send_handle over a connection."""
    near, far = context.Pipe()
    process = context.Process(target=target, args=(far, result))
    process.start()
    multiprocessing.reduction.send_handle(near, session.fileno(), process.pid)
    return process, near


def multiprocessing_fork():
    """Inherited."""
    accept_and_share("fork", 7707, child_of_socket, as_argument)


def multiprocessing_spawn():
    """Sent to a fresh interpreter by the resource sharer (DupFd)."""
    accept_and_share("spawn", 7708, child_of_socket, as_argument)


def multiprocessing_forkserver():
    """Sent to a child of a server that was started with exec."""
    accept_and_share("forkserver", 7709, child_of_socket, as_argument)


def multiprocessing_handle():
    """send_handle to a fresh interpreter."""
    accept_and_share("spawn", 7710, child_of_handle, as_handle)


def sent_fds():
    """send_fds: a listener and a connected sender move to a child, which uses both."""
    near, far = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            near.close()
            far.settimeout(LIMIT)
            _, (a, b), _, _ = socket.recv_fds(far, 10, 2)
            rx = socket.socket(socket.AF_INET, socket.SOCK_RDM, PROTOCOL, fileno=a)
            tx = socket.socket(socket.AF_INET, socket.SOCK_RDM, PROTOCOL, fileno=b)
            tx.sendall(b"from the child")
            rx.settimeout(LIMIT)
            session, _ = rx.accept()
            session.settimeout(LIMIT)
            assert session.recv(100) == b"from the child"
            status = 0
        finally:
            os._exit(status)
    far.close()
    with listener(7711) as rx, sender(7711) as tx:
        socket.send_fds(near, [b"two"], [rx.fileno(), tx.fileno()])
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def with_ancillary():
    """sendmsg with SCM_RIGHTS within a process: the copy is the same session."""
    near, far = socket.socketpair()
    with near, far, listener(7712) as rx, sender(7712) as tx:
        tx.send(b"one")
        session, _ = rx.accept()
        with session:
            near.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [session.fileno()]))])
            _, ((_, _, octets),), _, _ = far.recvmsg(1, socket.CMSG_SPACE(4))
            copy = socket.socket(socket.AF_INET, socket.SOCK_RDM, PROTOCOL, fileno=array.array("i", octets)[0])
            with copy:
                assert copy.recv(1) == b"o"
                assert session.recv(10) == b"ne"
                say(tx, [b"two"])
                assert copy.recv(10) == b"two" and copy.recv(10) == b""


TESTS = (
    socketserver_plain,
    socketserver_threads,
    socketserver_forks,
    pipe_transports,
    readers,
    stream_transports,
    multiprocessing_fork,
    multiprocessing_spawn,
    multiprocessing_forkserver,
    multiprocessing_handle,
    sent_fds,
    with_ancillary,
)

if __name__ == "__main__":
    faulthandler.dump_traceback_later(4 * LIMIT, exit=True)
    for test in TESTS:
        if len(sys.argv) > 2 and test.__name__ not in sys.argv[2:]:
            continue
        print("begin", test.__name__, flush=True)
        try:
            if asyncio.iscoroutinefunction(test):
                asyncio.run(test())
            else:
                test()
        except Exception as e:
            traceback.print_exc()
            sys.exit(f"{test.__name__}: {e!r}")
        print("ok", test.__name__, flush=True)

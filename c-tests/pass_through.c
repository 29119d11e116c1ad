/* TCP, UDP and UNIX sockets, pipes and files work as ever beside PGM sockets. */
/* c-tests: variants=fortify3,lfs,asan */
#include "check.h"
#include <netinet/tcp.h>
#include <sys/un.h>

static void tcp(void)
{
    struct sockaddr_in a = address("127.0.0.1", 0), name;
    socklen_t len = sizeof(a);
    char buffer[16];
    int one = 1, value = 0;

    int rx = (int)OK(socket(AF_INET, SOCK_STREAM, 0));
    OK(setsockopt(rx, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)));
    OK(bind(rx, SA(a), sizeof(a)));
    OK(listen(rx, 5));
    OK(getsockname(rx, SA(a), &len));
    int tx = (int)OK(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP));
    OK(connect(tx, SA(a), sizeof(a)));
    OK(setsockopt(tx, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)));
    len = sizeof(value);
    OK(getsockopt(tx, IPPROTO_TCP, TCP_NODELAY, &value, &len));
    EQUAL(value != 0, 1);
    len = sizeof(name);
    int fd = (int)OK(accept4(rx, SA(name), &len, SOCK_NONBLOCK));
    FAILS(recv(fd, buffer, sizeof(buffer), 0), EAGAIN);
    send_text(tx, "abc");
    send_text(tx, "def");
    EQUAL(ready(fd, POLLIN, 5000), POLLIN);
    sleep_ms(50);
    EQUAL(ioctl(fd, FIONREAD, &value), 0);
    EQUAL(value, 6);
    EXPECT_TEXT(fd, "abcdef");
    int copy = (int)OK(fcntl(tx, F_DUPFD_CLOEXEC, 50));
    OK(close(tx));
    OK(shutdown(copy, SHUT_WR));
    EQUAL(ready(fd, POLLIN, 5000), POLLIN);
    EQUAL(read(fd, buffer, sizeof(buffer)), 0);
    OK(close(copy));
    OK(close(fd));
    OK(close(rx));
}

static void udp(void)
{
    struct sockaddr_in a = address("127.0.0.1", 0), from;
    socklen_t len = sizeof(a);
    char b0[16], b1[16];
    struct iovec parts[2] = {{b0, sizeof(b0)}, {b1, sizeof(b1)}};
    struct mmsghdr batch[2];

    int rx = (int)OK(socket(AF_INET, SOCK_DGRAM, IPPROTO_UDP));
    OK(bind(rx, SA(a), sizeof(a)));
    OK(getsockname(rx, SA(a), &len));
    int tx = (int)OK(socket(AF_INET, SOCK_DGRAM, 0));
    EQUAL(sendto(tx, "one", 3, 0, SA(a), sizeof(a)), 3);
    EQUAL(sendto(tx, "two", 3, 0, SA(a), sizeof(a)), 3);
    memset(batch, 0, sizeof(batch));
    for (int i = 0; i < 2; i++) {
        batch[i].msg_hdr.msg_iov = &parts[i];
        batch[i].msg_hdr.msg_iovlen = 1;
    }
    EQUAL(recvmmsg(rx, batch, 2, 0, NULL), 2);
    EQUAL(batch[1].msg_len, 3);
    CHECK(memcmp(b0, "one", 3) == 0 && memcmp(b1, "two", 3) == 0);
    /* Truncation is UDP's, not ours. */
    EQUAL(sendto(tx, "truncated", 9, 0, SA(a), sizeof(a)), 9);
    len = sizeof(from);
    EQUAL(recvfrom(rx, b0, 5, MSG_TRUNC, SA(from), &len), 9);
    FAILS(recv(rx, b0, 5, MSG_DONTWAIT), EAGAIN);
    FAILS(send(tx, "x", 1, 0), EDESTADDRREQ);
    OK(close(rx));
    OK(close(tx));
}

static void unix_and_pipes(void)
{
    int ends[2];
    char buffer[16];
    struct iovec v = {buffer, sizeof(buffer)};

    OK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends));
    EQUAL(send(ends[0], "", 0, 0), 0);
    EQUAL(send(ends[0], "x", 1, 0), 1);
    EQUAL(recv(ends[1], buffer, sizeof(buffer), 0), 0); /* a real zero-length message */
    EQUAL(readv(ends[1], &v, 1), 1);
    OK(close(ends[0]));
    OK(close(ends[1]));

    OK(pipe(ends));
    EQUAL(write(ends[1], "y", 1), 1);
    EQUAL(read(ends[0], buffer, sizeof(buffer)), 1);
    FAILS(recv(ends[0], buffer, 1, 0), ENOTSOCK);
    FAILS(listen(ends[0], 1), ENOTSOCK);
    OK(dup2(ends[0], ends[1]));
    OK(close_range((unsigned)ends[0], (unsigned)ends[1], 0));
    FAILS(read(ends[0], buffer, 1), EBADF);
    FAILS(close(-1), EBADF);
    FAILS(close(1 << 30), EBADF);

    FILE *file = tmpfile();
    CHECK(file != NULL);
    CHECK(fputs("line\n", file) >= 0);
    rewind(file);
    CHECK(fgets(buffer, sizeof(buffer), file) != NULL);
    int copy = (int)OK(dup(fileno(file)));
    OK(fclose(file));
    EQUAL(lseek(copy, 0, SEEK_END), 5);
    OK(close(copy));
    FILE *stream = popen("echo popen", "r");
    CHECK(stream != NULL);
    CHECK(fgets(buffer, sizeof(buffer), stream) != NULL);
    CHECK(strcmp(buffer, "popen\n") == 0);
    EQUAL(pclose(stream), 0);
}

static void all(void)
{
    tcp();
    udp();
    unix_and_pipes();
}

int main(void)
{
    begin(30);
    all();
    int rx = listener(0), tx = sender(0);
    all();
    send_text(tx, "pgm");
    int fd = session(rx);
    EXPECT_TEXT(fd, "pgm");
    OK(close(tx));
    all();
    return 0;
}

/*
 * Stream mode as users of TCP know it: no boundaries, short reads and writes, MSG_PEEK, MSG_WAITALL,
 * FIONREAD, stdio, shutdown, end of file. Natively only: SOCK_STREAM over UDP is what Linux says it is.
 */
/* c-tests: proto=113 */
#include "check.h"

enum { TOTAL = 8 << 20 };

static int stream(void)
{
    return (int)OK(socket(AF_INET, SOCK_STREAM, IPPROTO_PGM));
}

static int stream_sender(int n)
{
    struct sockaddr_in a = group(n);
    int fd = stream();

    OK(connect(fd, SA(a), sizeof(a)));
    return fd;
}

static int stream_listener(int n)
{
    struct sockaddr_in a = group(n);
    int fd = stream();

    OK(bind(fd, SA(a), sizeof(a)));
    OK(listen(fd, 1));
    return fd;
}

static void expect(int fd, const char *text, int flags)
{
    char buffer[64];
    size_t len = strlen(text);

    EQUAL(recv(fd, buffer, len, MSG_WAITALL | flags), len);
    CHECK(memcmp(buffer, text, len) == 0);
}

static void wait_for(int fd, int octets)
{
    int waiting;

    do
        OK(ioctl(fd, FIONREAD, &waiting));
    while (waiting < octets && usleep(1000) == 0);
    EQUAL(waiting, octets);
}

/* What MSG_TRUNC asks for: octets go nowhere, as many as there are, more if MSG_WAITALL says so. */
static void discarded(int tx, int fd)
{
    enum { LONG = 10000 };
    static char all[LONG], buffer[LONG];
    struct timeval limit = {0, 200000}, none = {0, 0};
    long long start;

    send_text(tx, "0123456789");
    wait_for(fd, 10);
    EQUAL(recv(fd, NULL, 4, MSG_TRUNC), 4);
    EQUAL(recv(fd, NULL, 2, MSG_TRUNC | MSG_PEEK), 2);
    EQUAL(recv(fd, NULL, 100, MSG_TRUNC | MSG_PEEK), 6);
    memset(buffer, 'u', sizeof(buffer));
    EQUAL(recv(fd, buffer, 3, MSG_TRUNC), 3);
    EQUAL(buffer[0], 'u');
    EQUAL(recv(fd, NULL, 100000, MSG_TRUNC), 3);
    FAILS(recv(fd, NULL, 1, MSG_TRUNC | MSG_DONTWAIT), EAGAIN);

    /* More than is thrown away in one step. */
    fill(all, LONG, 6);
    EQUAL(send(tx, all, LONG, 0), LONG);
    wait_for(fd, LONG);
    EQUAL(recv(fd, NULL, 100000, MSG_TRUNC | MSG_PEEK), LONG);
    EQUAL(recv(fd, NULL, LONG - 1, MSG_TRUNC | MSG_PEEK), LONG - 1);
    EQUAL(recv(fd, NULL, 9000, MSG_TRUNC), 9000);
    EQUAL(recv(fd, buffer, LONG, 0), LONG - 9000);
    CHECK(matches(buffer, LONG - 9000, 6, 9000));

    /* It waits for the first, and with MSG_WAITALL for all. */
    OK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)));
    start = now_ms();
    FAILS(recv(fd, NULL, 1, MSG_TRUNC), EAGAIN);
    CHECK(now_ms() - start > 100);
    EQUAL(send(tx, all, LONG, 0), LONG);
    wait_for(fd, LONG);
    start = now_ms();
    EQUAL(recv(fd, NULL, LONG + 1, MSG_TRUNC | MSG_WAITALL), LONG);
    CHECK(now_ms() - start > 100);
    OK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &none, sizeof(none)));
}

static void small_reads_and_writes(void)
{
    int rx = stream_listener(0), tx = stream_sender(0);
    uint32_t boundary = 5;
    char buffer[64];

    FAILS(setsockopt(tx, IPPROTO_PGM, RM_SET_MESSAGE_BOUNDARY, &boundary, sizeof(boundary)), EINVAL);
    FAILS(recv(tx, buffer, 1, 0), EOPNOTSUPP);
    send_text(tx, "abcdef");
    int fd = session(rx);
    FAILS(send(fd, buffer, 1, MSG_NOSIGNAL), EOPNOTSUPP);
    expect(fd, "ab", 0);
    expect(fd, "cdef", MSG_PEEK);
    expect(fd, "cd", MSG_PEEK);
    expect(fd, "cdef", 0);
    FAILS(recv(fd, buffer, 1, MSG_DONTWAIT), EAGAIN);
    /* Two sends, one receive; one send, two receives. MSG_MORE is a hint and holds nothing back. */
    EQUAL(send(tx, "one", 3, MSG_MORE), 3);
    expect(fd, "one", 0);
    send_text(tx, "two");
    EQUAL(write(tx, "three", 5), 5);
    struct iovec parts[2] = {{"fo", 2}, {"ur", 2}};
    EQUAL(writev(tx, parts, 2), 4);
    wait_for(fd, 12);
    struct iovec v[2] = {{buffer, 3}, {buffer + 3, 60}};
    struct msghdr header = {.msg_iov = v, .msg_iovlen = 2};
    EQUAL(recvmsg(fd, &header, 0), 12);
    CHECK(memcmp(buffer, "twothreefour", 12) == 0);
    EQUAL(header.msg_flags & (MSG_EOR | MSG_TRUNC), 0);
    discarded(tx, fd);
    /* MSG_WAITALL ends at the end, too. */
    send_text(tx, "last");
    OK(shutdown(tx, SHUT_WR));
    FAILS(send(tx, "x", 1, MSG_NOSIGNAL), EPIPE);
    EQUAL(recv(fd, buffer, sizeof(buffer), MSG_WAITALL), 4);
    EQUAL(recv(fd, buffer, sizeof(buffer), 0), 0);
    EQUAL(recv(fd, NULL, sizeof(buffer), MSG_TRUNC), 0);
    EQUAL(recv(fd, NULL, sizeof(buffer), MSG_TRUNC | MSG_WAITALL), 0);
    EQUAL(ready(fd, POLLIN | POLLRDHUP, 0), POLLIN | POLLRDHUP);
    OK(close(tx));
    OK(close(fd));
    OK(close(rx));
}

static void transmit_nonblocking(void *arg)
{
    char *all = malloc(TOTAL);
    size_t at = 0;
    int shorts = 0, blocked = 0;

    hear(*(int *)arg);
    int fd = stream_sender(1);
    CHECK(all != NULL);
    fill(all, TOTAL, 4);
    OK(fcntl(fd, F_SETFL, O_NONBLOCK));
    while (at < TOTAL) {
        ssize_t n = send(fd, all + at, TOTAL - at, 0);
        if (n == -1) {
            EQUAL(errno, EAGAIN);
            blocked++;
            EQUAL(ready(fd, POLLOUT, 10000), POLLOUT);
            continue;
        }
        at += (size_t)n;
        shorts += at < TOTAL;
    }
    if (shorts == 0 || blocked == 0)
        FAIL("%d short writes, %d times blocked", shorts, blocked);
}

static void large_writes_without_blocking(void)
{
    char *all = malloc(TOTAL + 1);
    int go[2];

    CHECK(all != NULL);
    OK(pipe(go));
    pid_t pid = child(50, transmit_nonblocking, go);
    int rx = stream_listener(1);
    tell(go[1]);
    int fd = session(rx);
    EQUAL(recv(fd, all, TOTAL, MSG_WAITALL), TOTAL);
    CHECK(matches(all, TOTAL, 4, 0));
    EQUAL(recv(fd, all, 1, 0), 0);
    CHILD_PASSED(pid);
    free(all);
}

static void lines_through_stdio(void)
{
    int rx = stream_listener(2);
    FILE *out = fdopen(stream_sender(2), "w");
    char line[64], expected[64];

    CHECK(out != NULL);
    for (int i = 0; i < 5000; i++)
        CHECK(fprintf(out, "line %d\n", i) > 0);
    EQUAL(fclose(out), 0);
    FILE *in = fdopen(session(rx), "r");
    CHECK(in != NULL);
    for (int i = 0; i < 5000; i++) {
        snprintf(expected, sizeof(expected), "line %d\n", i);
        CHECK(fgets(line, sizeof(line), in) != NULL);
        EQUAL(strcmp(line, expected), 0);
    }
    CHECK(fgets(line, sizeof(line), in) == NULL && feof(in));
    EQUAL(fclose(in), 0);
    OK(close(rx));
}

/* The mode is each end's own. */
static void streams_and_messages_mixed(void)
{
    char buffer[64];
    size_t got = 0;

    int rx = stream_listener(3), tx = sender(3);
    send_text(tx, "mess");
    send_text(tx, "age");
    OK(close(tx));
    int fd = session(rx);
    EQUAL(recv(fd, buffer, sizeof(buffer), MSG_WAITALL), 7);
    CHECK(memcmp(buffer, "message", 7) == 0);
    EQUAL(recv(fd, buffer, 1, 0), 0);

    rx = listener(4), tx = stream_sender(4);
    send_text(tx, "str");
    send_text(tx, "eam");
    OK(close(tx));
    fd = session(rx);
    for (ssize_t n; (n = OK(recv(fd, buffer + got, sizeof(buffer) - got, 0))) > 0;)
        got += (size_t)n;
    EQUAL(got, 6);
    CHECK(memcmp(buffer, "stream", 6) == 0);
}

int main(void)
{
    begin(80);
    FAILS(socket(AF_INET, SOCK_STREAM, IPPROTO_UDP), EPROTONOSUPPORT);
    large_writes_without_blocking();
    small_reads_and_writes();
    lines_through_stdio();
    streams_and_messages_mixed();
    return 0;
}

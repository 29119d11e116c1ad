/*
 * RM_SET_MESSAGE_BOUNDARY: several sends make one message of the length announced, which leaves as it
 * fills; after it each send is a message again.
 */
/* c-tests: time=60 */
#include "check.h"

enum { LONG = 16 << 20, PART = 60000, BIG_PART = 3 << 20 };

static int boundary(int fd, uint32_t size)
{
    return setsockopt(fd, IPPROTO_PGM, RM_SET_MESSAGE_BOUNDARY, &size, sizeof(size));
}

static void send_part(int fd, const char *message, size_t from, size_t to)
{
    EQUAL(send(fd, message + from, to - from, 0), to - from);
}

/* All parts of a 16 MiB message; half of it is on the wire before the rest is there. */
static void send_long(int fd, char *message)
{
    struct pgm_sender_stats stats;
    size_t at = 0;

    fill(message, LONG, 1);
    OK(boundary(fd, LONG));
    for (; at < LONG / 2; at += PART)
        send_part(fd, message, at, at + PART);
    do {
        socklen_t len = sizeof(stats);
        sleep_ms(20);
        OK(getsockopt(fd, IPPROTO_PGM, RM_SENDER_STATISTICS, &stats, &len));
    } while (stats.data_bytes_sent < LONG / 2 - 2000);
    FAILS(boundary(fd, 5), EBUSY);
    FAILS(boundary(fd, 0), EBUSY);
    FAILS(send(fd, message, LONG - at + 1, 0), EMSGSIZE);
    send_part(fd, message, at, at + BIG_PART);
    at += BIG_PART;
    struct iovec parts[2] = {{message + at, 1000}, {message + at + 1000, 5}};
    EQUAL(writev(fd, parts, 2), 1005);
    EQUAL(send(fd, message, 0, 0), 0);
    send_part(fd, message, at + 1005, LONG);
}

/* Without blocking: a part is taken whole or not at all, and poll tells when to try again. */
static void send_nonblocking(int fd, char *message)
{
    int blocked = 0;

    fill(message, LONG, 2);
    OK(boundary(fd, LONG));
    for (size_t at = 0; at < LONG;) {
        size_t len = PART < LONG - at ? PART : LONG - at;
        ssize_t n = send(fd, message + at, len, MSG_DONTWAIT);
        if (n == -1) {
            EQUAL(errno, EAGAIN);
            blocked++;
            EQUAL(ready(fd, POLLOUT, 10000), POLLOUT);
            continue;
        }
        EQUAL(n, len);
        at += len;
    }
    if (blocked == 0)
        FAIL("never blocked");
}

/* Whatever else makes messages: MSG_MORE before it, splice in it. */
static void send_mixed(int fd)
{
    int ends[2];

    EQUAL(send(fd, "more ", 5, MSG_MORE), 5);
    OK(boundary(fd, 9));
    send_text(fd, "one");
    OK(pipe(ends));
    EQUAL(write(ends[1], "twothree", 8), 8);
    EQUAL(splice(ends[0], NULL, fd, NULL, 3, 0), 3);
    FAILS(send(fd, "four", 4, 0), EMSGSIZE);
    FAILS(splice(ends[0], (off64_t[]){0}, fd, NULL, 3, 0), ESPIPE);
    /* No further than the boundary. */
    EQUAL(splice(ends[0], NULL, fd, NULL, 100, 0), 3);
    OK(boundary(fd, 100));
    OK(boundary(fd, 0));
    EQUAL(splice(ends[0], NULL, fd, NULL, 100, 0), 2);
    OK(boundary(fd, 2));
    FAILS(splice(ends[0], NULL, fd, NULL, 2, SPLICE_F_NONBLOCK), EAGAIN);
    OK(boundary(fd, 0));
}

static void transmit(void *arg)
{
    char *message = malloc(LONG);
    int *go = arg;

    hear(go[0]);
    int fd = sender(0);
    CHECK(message != NULL);
    send_text(fd, "before");
    OK(boundary(fd, 11));
    send_text(fd, "one ");
    send_text(fd, "message");
    send_text(fd, "alone");
    /* A library announces each send: nothing changes. */
    OK(boundary(fd, 5));
    send_text(fd, "exact");
    /* Announced again before a part of it was sent, and cancelled. */
    OK(boundary(fd, 100));
    OK(boundary(fd, 200));
    FAILS(send(fd, message, 201, 0), EMSGSIZE);
    OK(boundary(fd, 0));
    send_text(fd, "cancelled");
    FAILS(boundary(fd, (256u << 20) + 1), EINVAL);
    send_long(fd, message);
    send_text(fd, "between");
    send_nonblocking(fd, message);
    OK(boundary(fd, LONG));
    EQUAL(send(fd, message, LONG, 0), LONG);
    send_text(fd, "after");
    send_mixed(fd);
}

static void expect_long(int fd, char *buffer, uint32_t seed)
{
    EQUAL(recv(fd, buffer, LONG + 1, 0), LONG);
    CHECK(matches(buffer, LONG, seed, 0));
}

int main(void)
{
    char *buffer = malloc(LONG + 1);
    int go[2];

    begin(55);
    CHECK(buffer != NULL);
    OK(pipe(go));
    pid_t pid = child(55, transmit, go);
    int rx = listener(0);
    FAILS(boundary(rx, 5), EINVAL);
    tell(go[1]);
    int fd = session(rx);
    EXPECT_TEXT(fd, "before");
    EXPECT_TEXT(fd, "one message");
    EXPECT_TEXT(fd, "alone");
    EXPECT_TEXT(fd, "exact");
    EXPECT_TEXT(fd, "cancelled");
    expect_long(fd, buffer, 1);
    EXPECT_TEXT(fd, "between");
    expect_long(fd, buffer, 2);
    expect_long(fd, buffer, 2);
    EXPECT_TEXT(fd, "after");
    EXPECT_TEXT(fd, "more ");
    EXPECT_TEXT(fd, "onetwothr");
    EXPECT_TEXT(fd, "ee");
    EQUAL(recv(fd, buffer, 1, 0), 0);
    CHILD_PASSED(pid);
    return 0;
}

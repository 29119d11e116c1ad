/* SCM_RIGHTS: a PGM socket received from another process, or from oneself, is a PGM socket. */
/* c-tests: variants=asan,valgrind */
#include "check.h"

#define LONG (1 << 20)

static void give(int channel, int fd)
{
    char room[CMSG_SPACE(sizeof(int))], octet = 'f';
    struct iovec part = {&octet, 1};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = room,
                            .msg_controllen = sizeof(room)};
    struct cmsghdr *control = CMSG_FIRSTHDR(&header);

    memset(room, 0, sizeof(room));
    control->cmsg_level = SOL_SOCKET;
    control->cmsg_type = SCM_RIGHTS;
    control->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(control), &fd, sizeof(fd));
    EQUAL(sendmsg(channel, &header, 0), 1);
}

static int take(int channel, int many)
{
    char room[CMSG_SPACE(sizeof(int))], octet;
    struct iovec part = {&octet, 1};
    struct mmsghdr header = {.msg_hdr = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = room,
                                         .msg_controllen = sizeof(room)}};
    int fd;

    if (many)
        EQUAL(recvmmsg(channel, &header, 1, 0, NULL), 1);
    else
        EQUAL(recvmsg(channel, &header.msg_hdr, 0), 1);
    struct cmsghdr *control = CMSG_FIRSTHDR(&header.msg_hdr);
    CHECK(control != NULL && control->cmsg_type == SCM_RIGHTS);
    memcpy(&fd, CMSG_DATA(control), sizeof(fd));
    return fd;
}

/* Another process, which had no PGM socket before. */
static void other(void *arg)
{
    int channel = *(int *)arg;
    static char buffer[LONG];
    struct sockaddr_in name, a = group(0);
    socklen_t len = sizeof(name);
    int value;

    int fd = take(channel, 0);
    OK(getsockname(fd, SA(name), &len));
    EQUAL(name.sin_family, AF_INET);
    EQUAL(name.sin_port, group(0).sin_port);
    EXPECT_TEXT(fd, "ssion");
    size_t got = 0;
    while (got < LONG) {
        ssize_t n = OK(recv(fd, buffer, 400000, 0));
        CHECK(n > 0 && matches(buffer, (size_t)n, 3, got));
        got += (size_t)n;
    }
    OK(close(fd));

    fd = take(channel, 1);
    OK(getpeername(fd, SA(name), &len));
    EQUAL(name.sin_port, group(0).sin_port);
    fill(buffer, LONG, 4);
    EQUAL(send(fd, buffer, LONG, 0), LONG);
    OK(close(fd));

    fd = take(channel, 1);
    len = sizeof(value);
    OK(getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &len));
    EQUAL(value, 1);
    int accepted = session(fd);
    EXPECT_TEXT(accepted, "accept this");
    OK(close(accepted));
    OK(close(fd));

    fd = take(channel, 0);
    OK(connect(fd, SA(a), sizeof(a)));
    send_text(fd, "was fresh");
    OK(close(fd));

    /* An ordinary descriptor whose number was a PGM socket. */
    fd = take(channel, 0);
    EQUAL(write(fd, "pipe", 4), 4);
    FAILS(send(fd, "x", 1, 0), ENOTSOCK);
}

int main(void)
{
    static char buffer[LONG];
    int channel[2], ends[2];

    begin(60);
    OK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, channel));
    pid_t pid = child(60, other, &channel[1]);
    OK(close(channel[1]));

    int rx = listener(0), tx = sender(0);
    send_text(tx, "session");
    int fd = session(rx);
    EQUAL(recv(fd, buffer, 2, 0), 2);
    fill(buffer, LONG, 3);
    EQUAL(send(tx, buffer, LONG, 0), LONG);
    give(channel[0], fd);
    OK(close(fd));
    OK(close(tx));

    tx = sender(0);
    give(channel[0], tx);
    OK(close(tx));
    fd = session(rx);
    EQUAL(recv(fd, buffer, LONG, 0), LONG);
    CHECK(matches(buffer, LONG, 4, 0));
    EQUAL(recv(fd, buffer, LONG, 0), 0);
    OK(close(fd));

    give(channel[0], rx);
    tx = sender(0);
    send_text(tx, "accept this");

    give(channel[0], pgm_socket(0));
    int second = listener(0);
    do {
        /* The sender that was accepted there is a session here, too; and so may be those that are about to
         * end, which nobody promised to wait for us. */
        fd = session(second);
        ssize_t n = recv(fd, buffer, sizeof(buffer) - 1, 0);
        CHECK(n >= 0 || errno == ECONNRESET);
        buffer[n < 0 ? 0 : n] = 0;
    } while (strcmp(buffer, "was fresh") != 0);
    OK(pipe(ends));
    give(channel[0], ends[1]);
    EQUAL(read(ends[0], buffer, 4), 4);
    CHILD_PASSED(pid);

    /* To oneself: one socket with two names, and its counters. */
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, channel));
    OK(close(tx));
    tx = sender(5);
    give(channel[0], tx);
    int copy = take(channel[1], 0);
    OK(close(tx));
    struct pgm_sender_stats stats;
    socklen_t len = sizeof(stats);
    OK(getsockopt(copy, IPPROTO_PGM, RM_SENDER_STATISTICS, &stats, &len));
    rx = listener(5);
    send_text(copy, "by the copy");
    fd = session(rx);
    EXPECT_TEXT(fd, "by the copy");
    return 0;
}

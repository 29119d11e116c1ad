/* The MSG_* flags of send and receive, each with what it means for messages. */
#include "check.h"

/* One recvmsg into `size` octets; its flags in *flags. */
static ssize_t receive(int fd, void *buffer, size_t size, int wanted, int *flags)
{
    char control[64];
    struct sockaddr_in from;
    struct iovec v = {buffer, size};
    struct msghdr header = {.msg_name = &from,
                            .msg_namelen = sizeof(from),
                            .msg_iov = &v,
                            .msg_iovlen = 1,
                            .msg_control = control,
                            .msg_controllen = sizeof(control),
                            .msg_flags = -1};
    ssize_t n = recvmsg(fd, &header, wanted);

    if (n > 0) {
        EQUAL(header.msg_namelen, sizeof(from));
        EQUAL(from.sin_family, AF_INET);
        EQUAL(header.msg_controllen, 0);
    }
    *flags = header.msg_flags;
    return n;
}

int main(void)
{
    static const int harmless[] = {MSG_NOSIGNAL, MSG_EOR, MSG_CONFIRM, MSG_DONTROUTE};
    char buffer[16], text[16];
    int flags;

    begin(30);
    int rx = listener(0), tx = sender(0);
    for (size_t i = 0; i < sizeof(harmless) / sizeof(*harmless); i++)
        EQUAL(send(tx, "hint", 4, harmless[i]), 4);
    int fd = session(rx);
    for (size_t i = 0; i < sizeof(harmless) / sizeof(*harmless); i++)
        EXPECT_TEXT(fd, "hint");

    /* MSG_PEEK again and again, with short buffers and long ones; then all of it is read. */
    send_text(tx, "message");
    EQUAL(ready(fd, POLLIN, 10000), POLLIN);
    for (int i = 0; i < 3; i++) {
        EQUAL(receive(fd, buffer, 3, MSG_PEEK, &flags), 3);
        EQUAL(flags & (MSG_EOR | MSG_TRUNC), 0);
        CHECK(memcmp(buffer, "mes", 3) == 0);
        EQUAL(receive(fd, buffer, sizeof(buffer), MSG_PEEK, &flags), 7);
        EQUAL(flags & (MSG_EOR | MSG_TRUNC), MSG_EOR);
        CHECK(memcmp(buffer, "message", 7) == 0);
    }
    EXPECT_TEXT(fd, "message");
    FAILS(recv(fd, buffer, sizeof(buffer), MSG_PEEK | MSG_DONTWAIT), EAGAIN);

    /* MSG_WAITALL waits for no second message; MSG_CMSG_CLOEXEC has nothing to mark. */
    send_text(tx, "one");
    send_text(tx, "two");
    EQUAL(receive(fd, buffer, sizeof(buffer), MSG_WAITALL | MSG_CMSG_CLOEXEC, &flags), 3);
    EQUAL(flags & ~MSG_CMSG_CLOEXEC, MSG_EOR);
    EXPECT_TEXT(fd, "two");

    /* MSG_TRUNC tells the real length; with MSG_PEEK nothing goes. */
    send_text(tx, "message");
    EQUAL(ready(fd, POLLIN, 10000), POLLIN);
    EQUAL(recv(fd, buffer, 2, MSG_TRUNC | MSG_PEEK), 7);
    EQUAL(recv(fd, buffer, 2, 0), 2);
    EQUAL(recv(fd, NULL, 0, MSG_TRUNC | MSG_PEEK), 5);
    send_text(tx, "next");
    EQUAL(receive(fd, buffer, 2, MSG_TRUNC, &flags), 5);
    EQUAL(flags & (MSG_TRUNC | MSG_EOR), MSG_TRUNC | MSG_EOR);
    EXPECT_TEXT(fd, "next");

    /* Several buffers, one of them empty, and the rest in others. */
    struct iovec parts[3] = {{buffer, 2}, {NULL, 0}, {text, 3}};
    struct msghdr header = {.msg_iov = parts, .msg_iovlen = 3};
    send_text(tx, "abcdefgh");
    EQUAL(recvmsg(fd, &header, 0), 5);
    EQUAL(header.msg_flags, 0);
    CHECK(memcmp(buffer, "ab", 2) == 0 && memcmp(text, "cde", 3) == 0);
    EQUAL(readv(fd, parts, 3), 3);
    CHECK(memcmp(buffer, "fg", 2) == 0 && text[0] == 'h');

    /* What PGM does not have. */
    FAILS(recv(fd, buffer, 1, MSG_OOB), EOPNOTSUPP);
    FAILS(recv(fd, buffer, 1, MSG_OOB | MSG_DONTWAIT), EOPNOTSUPP);
    FAILS(recv(fd, buffer, 1, MSG_ERRQUEUE), EAGAIN);
    FAILS(recv(fd, buffer, 1, MSG_ERRQUEUE | MSG_DONTWAIT), EAGAIN);
    FAILS(send(tx, "x", 1, MSG_OOB), EOPNOTSUPP);
    FAILS(recv(fd, buffer, 1, MSG_DONTWAIT), EAGAIN);

    /* Ancillary data and names mean nothing to a sender. */
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct sockaddr_in a = group(1);
    struct iovec one = {(char *)"with a descriptor", 17};
    memset(&control, 0, sizeof(control));
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(sizeof(int));
    header = (struct msghdr){.msg_name = &a,
                             .msg_namelen = sizeof(a),
                             .msg_iov = &one,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};
    EQUAL(sendmsg(tx, &header, 0), 17);
    EXPECT_TEXT(fd, "with a descriptor");
    return 0;
}

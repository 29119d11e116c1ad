/* MSG_PEEK and MSG_TRUNC, on small messages, on large ones, and in the middle of both. */
#include "check.h"

enum { BIG = 500000 };
static char message[BIG], buffer[BIG + 1];

/* A message of `size` octets with this seed is next. */
static void look(int fd, ssize_t size, uint32_t seed)
{
    int next = -1;

    EQUAL(ready(fd, POLLIN, 5000), POLLIN);
    EQUAL(recv(fd, NULL, 0, MSG_PEEK | MSG_TRUNC), size);
    OK(ioctl(fd, FIONREAD, &next));
    EQUAL(next, size);
    for (int i = 0; i < 3; i++) {
        memset(buffer, 0, sizeof(buffer));
        EQUAL(recv(fd, buffer, 100, MSG_PEEK), 100);
        CHECK(matches(buffer, 100, seed, 0));
        EQUAL(recv(fd, buffer, 100, MSG_PEEK | MSG_TRUNC), size);
        EQUAL(recv(fd, buffer, sizeof(buffer), MSG_PEEK), size);
        CHECK(matches(buffer, (size_t)size, seed, 0));
    }
    /* The same with a part read. */
    EQUAL(recv(fd, buffer, 10, 0), 10);
    EQUAL(recv(fd, NULL, 0, MSG_PEEK | MSG_TRUNC), size - 10);
    OK(ioctl(fd, FIONREAD, &next));
    EQUAL(next, size - 10);
    EQUAL(recv(fd, buffer, 20, MSG_PEEK), 20);
    CHECK(matches(buffer, 20, seed, 10));
    EQUAL(recv(fd, buffer, sizeof(buffer), MSG_PEEK), size - 10);
    CHECK(matches(buffer, (size_t)size - 10, seed, 10));
    EQUAL(recv(fd, buffer, 30, 0), 30);
    CHECK(matches(buffer, 30, seed, 10));
    EQUAL(ready(fd, POLLIN, 0), POLLIN);
    EQUAL(recv(fd, buffer, sizeof(buffer), MSG_WAITALL), size - 40);
    CHECK(matches(buffer, (size_t)size - 40, seed, 40));
    EQUAL(ready(fd, POLLIN, 0), 0);
}

int main(void)
{
    static const ssize_t sizes[] = {1000, 100000, BIG, 128 << 10, (128 << 10) + 1};
    struct iovec part = {buffer, 5};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};

    begin(40);
    int rx = listener(0), tx = sender(0);
    send_text(tx, "first");
    int fd = session(rx);
    EXPECT_TEXT(fd, "first");
    for (int i = 0; i < 5; i++) {
        fill(message, (size_t)sizes[i], (uint32_t)i);
        EQUAL(send(tx, message, (size_t)sizes[i], 0), sizes[i]);
        look(fd, sizes[i], (uint32_t)i);
    }

    /* MSG_TRUNC alone asks for a datagram's manners: the real length, and the rest is gone. */
    for (int i = 0; i < 5; i += 2) {
        EQUAL(send(tx, message, (size_t)sizes[i], 0), sizes[i]);
        send_text(tx, "next");
        EQUAL(recvmsg(fd, &header, MSG_TRUNC), sizes[i]);
        EQUAL(header.msg_flags, MSG_TRUNC | MSG_EOR);
        EXPECT_TEXT(fd, "next");
    }
    FAILS(recv(fd, buffer, 1, MSG_OOB), EOPNOTSUPP);
    FAILS(recv(fd, buffer, 1, MSG_ERRQUEUE), EAGAIN);
    FAILS(send(tx, buffer, 1, MSG_OOB), EOPNOTSUPP);
    return 0;
}

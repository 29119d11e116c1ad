/* A short buffer gets the first part and the next call the rest; MSG_EOR marks the last part. */
/* c-tests: variants=fortify3,lfs,asan,valgrind */
#include "check.h"

/* One recvmsg of at most `size` octets: its result, MSG_EOR in *eor. */
static ssize_t part(int fd, void *buffer, size_t size, int flags, int *eor)
{
    struct iovec v = {buffer, size};
    struct msghdr header = {.msg_iov = &v, .msg_iovlen = 1};
    ssize_t n = recvmsg(fd, &header, flags);

    *eor = (header.msg_flags & MSG_EOR) != 0;
    EQUAL(header.msg_flags & MSG_TRUNC, 0);
    return n;
}

int main(void)
{
    static char message[100000], buffer[100001];
    int eor;

    begin(30);
    int rx = listener(0), tx = sender(0);
    fill(message, sizeof(message), 1);
    EQUAL(send(tx, message, sizeof(message), 0), sizeof(message));
    send_text(tx, "next");
    send_text(tx, "last");
    int fd = session(rx);

    /* By plain recv and read. */
    EQUAL(recv(fd, buffer, 10, 0), 10);
    CHECK(matches(buffer, 10, 1, 0));
    EQUAL(read(fd, buffer, 20), 20);
    CHECK(matches(buffer, 20, 1, 10));
    /* MSG_PEEK takes nothing, in the middle of a message too. */
    EQUAL(recv(fd, buffer, 1000, MSG_PEEK), 1000);
    CHECK(matches(buffer, 1000, 1, 30));
    EQUAL(part(fd, buffer, 70, 0, &eor), 70);
    CHECK(matches(buffer, 70, 1, 30));
    EQUAL(eor, 0);
    /* The rest, in a buffer that is larger: up to the end of this message and no further. */
    EQUAL(part(fd, buffer, sizeof(buffer), 0, &eor), sizeof(message) - 100);
    CHECK(matches(buffer, sizeof(message) - 100, 1, 100));
    EQUAL(eor, 1);

    /* A buffer that fits exactly, octet by octet, and one that fits with the last octet. */
    for (int i = 0; i < 4; i++) {
        EQUAL(part(fd, buffer, 1, 0, &eor), 1);
        EQUAL(buffer[0], "next"[i]);
        EQUAL(eor, i == 3);
    }
    EQUAL(part(fd, buffer, 4, 0, &eor), 4);
    EQUAL(eor, 1);
    CHECK(memcmp(buffer, "last", 4) == 0);

    /* A message of which a part was read is still followed by the end of the session. */
    send_text(tx, "tail");
    OK(close(tx));
    EQUAL(recv(fd, buffer, 3, 0), 3);
    EQUAL(recv(fd, buffer, 3, 0), 1);
    EQUAL(recv(fd, buffer, 3, 0), 0);
    return 0;
}

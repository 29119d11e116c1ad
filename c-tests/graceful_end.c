/* The end of a session is 0, after all data, again and again, and is no error. */
/* c-tests: variants=asan,valgrind */
#include "check.h"

int main(void)
{
    char buffer[2000];
    int error = -1;
    socklen_t len = sizeof(error);
    struct iovec part = {buffer, sizeof(buffer)};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};

    begin(30);
    int rx = listener(0), tx = sender(0);
    for (int i = 0; i < 300; i++) {
        fill(buffer, 1500, (uint32_t)i);
        EQUAL(send(tx, buffer, 1500, 0), 1500);
    }
    OK(close(tx));
    int fd = session(rx);
    for (int i = 0; i < 300; i++) {
        EQUAL(recv(fd, buffer, sizeof(buffer), 0), 1500);
        CHECK(matches(buffer, 1500, (uint32_t)i, 0));
    }
    for (int i = 0; i < 5; i++) {
        EQUAL(recv(fd, buffer, sizeof(buffer), 0), 0);
        EQUAL(read(fd, buffer, sizeof(buffer)), 0);
        EQUAL(recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT | MSG_PEEK), 0);
        EQUAL(recvmsg(fd, &header, 0), 0);
    }
    OK(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len));
    EQUAL(error, 0);
    OK(close(fd));

    /* The listener is as good as new, and listening again is fine. */
    OK(listen(rx, 5));
    tx = sender(0);
    send_text(tx, "second session");
    fd = session(rx);
    EXPECT_TEXT(fd, "second session");
    return 0;
}

/* dup, dup2, dup3, F_DUPFD: every copy is the socket, and the session ends with the last one. */
/* c-tests: variants=lfs,asan,valgrind */
#include "check.h"

int main(void)
{
    char buffer[32];
    int error;
    socklen_t len = sizeof(error);

    begin(30);
    int rx = listener(0), tx = sender(0);
    int copies[6];
    copies[0] = (int)OK(dup(tx));
    copies[1] = (int)OK(dup2(tx, 100));
    EQUAL(copies[1], 100);
    copies[2] = (int)OK(dup3(tx, 101, O_CLOEXEC));
    EQUAL(OK(fcntl(copies[2], F_GETFD)), FD_CLOEXEC);
    copies[3] = (int)OK(fcntl(tx, F_DUPFD, 110));
    CHECK(copies[3] >= 110);
    copies[4] = (int)OK(fcntl(tx, F_DUPFD_CLOEXEC, 120));
    CHECK(copies[4] >= 120);
    EQUAL(OK(fcntl(copies[4], F_GETFD)), FD_CLOEXEC);
    copies[5] = tx;
    EQUAL(dup2(tx, tx), tx);
    FAILS(dup3(tx, tx, 0), EINVAL);
    FAILS(dup(-1), EBADF);

    for (int i = 0; i < 6; i++) {
        struct sockaddr_in name;
        int value = 0;
        send_text(copies[i], "copy");
        len = sizeof(name);
        OK(getpeername(copies[i], SA(name), &len));
        EQUAL(name.sin_addr.s_addr, group(0).sin_addr.s_addr);
        len = sizeof(value);
        OK(getsockopt(copies[i], SOL_SOCKET, SO_TYPE, &value, &len));
        EQUAL(value, SOCK_RDM);
    }
    int fd = session(rx), fd2 = (int)OK(dup(fd));
    for (int i = 0; i < 6; i++)
        EXPECT_TEXT(i % 2 ? fd : fd2, "copy");

    /* Closing five of six copies ends nothing. */
    for (int i = 5; i > 0; i--)
        OK(close(copies[i]));
    send_text(copies[0], "one left");
    EXPECT_TEXT(fd, "one left");
    OK(close(fd));
    send_text(copies[0], "again");
    EXPECT_TEXT(fd2, "again");

    /* A descriptor that dup2 replaces by something else is no PGM socket any more. */
    int ends[2];
    OK(pipe(ends));
    OK(dup2(ends[1], copies[0]));
    EQUAL(write(copies[0], "pipe", 4), 4);
    EQUAL(read(ends[0], buffer, sizeof(buffer)), 4);
    FAILS(send(copies[0], "x", 1, 0), ENOTSOCK);
    /* ... and as it was the last copy, the session ended. */
    EQUAL(recv(fd2, buffer, sizeof(buffer), 0), 0);

    /* Copies of a listener accept. */
    int rx2 = (int)OK(dup(rx));
    OK(close(rx));
    tx = sender(0);
    send_text(tx, "to the copy");
    fd = session(rx2);
    EXPECT_TEXT(fd, "to the copy");
    return 0;
}

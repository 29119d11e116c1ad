/* accept4's flags, accept's address, and accepting from several threads' point of view: one each. */
#include "check.h"

int main(void)
{
    struct sockaddr_in from, local;
    socklen_t len;

    begin(30);
    int rx = listener(0);
    static const int flags[] = {0, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_CLOEXEC | SOCK_NONBLOCK};
    for (int i = 0; i < 4; i++) {
        int tx = sender(0);
        send_text(tx, "hello");
        EQUAL(ready(rx, POLLIN, 5000), POLLIN);
        memset(&from, 0xee, sizeof(from));
        len = sizeof(from);
        int fd = (int)OK(accept4(rx, SA(from), &len, flags[i]));
        EQUAL((OK(fcntl(fd, F_GETFD)) & FD_CLOEXEC) != 0, (flags[i] & SOCK_CLOEXEC) != 0);
        EQUAL((OK(fcntl(fd, F_GETFL)) & O_NONBLOCK) != 0, (flags[i] & SOCK_NONBLOCK) != 0);
        /* The peer is the sender: its address and the PGM source port that names its session. */
        len = sizeof(local);
        OK(getsockname(tx, SA(local), &len));
        EQUAL(from.sin_addr.s_addr, local.sin_addr.s_addr);
        EQUAL(from.sin_port, local.sin_port);
        EQUAL(ready(fd, POLLIN, 5000), POLLIN);
        EXPECT_TEXT(fd, "hello");
        OK(close(fd));
        OK(close(tx));
    }
    FAILS(accept4(rx, NULL, NULL, 0x40), EINVAL);
    return 0;
}

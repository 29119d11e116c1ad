/* shutdown: SHUT_WR ends the stream after all data, SHUT_RD ends reading, each on the right side. */
#include "check.h"

static volatile sig_atomic_t pipes;

static void on_pipe(int signal)
{
    (void)signal;
    pipes++;
}

int main(void)
{
    char buffer[2000];

    begin(40);
    signal(SIGPIPE, on_pipe);
    int rx = listener(0), tx = sender(0);
    for (int i = 0; i < 100; i++) {
        fill(buffer, 1400, (uint32_t)i);
        EQUAL(send(tx, buffer, 1400, 0), 1400);
    }
    EQUAL(send(tx, "", 0, 0), 0);
    OK(shutdown(tx, SHUT_WR));
    FAILS(send(tx, "x", 1, MSG_NOSIGNAL), EPIPE);
    FAILS(send(tx, "", 0, MSG_NOSIGNAL), EPIPE);
    EQUAL(pipes, 0);
    FAILS(send(tx, "x", 1, 0), EPIPE);
    FAILS(write(tx, "x", 1), EPIPE);
    EQUAL(pipes, 2);
    int fd = session(rx);
    for (int i = 0; i < 100; i++) {
        EQUAL(recv(fd, buffer, sizeof(buffer), 0), 1400);
        CHECK(matches(buffer, 1400, (uint32_t)i, 0));
    }
    EQUAL(recv(fd, buffer, sizeof(buffer), 0), 0);
    FAILS(shutdown(tx, 17), EINVAL);
    OK(close(fd));
    OK(close(rx));
    OK(close(tx));

    /* Nobody writes to a session or a listener, so that side is shut from the beginning; the other goes on. */
    rx = listener(1), tx = sender(1);
    OK(shutdown(rx, SHUT_WR));
    FAILS(shutdown(rx, 17), EINVAL);
    send_text(tx, "x");
    fd = session(rx);
    OK(shutdown(fd, SHUT_WR));
    FAILS(shutdown(fd, 17), EINVAL);
    EXPECT_TEXT(fd, "x");
    OK(shutdown(fd, SHUT_RD));
    EQUAL(recv(fd, buffer, sizeof(buffer), 0), 0);
    EQUAL(recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT), 0);

    int fresh = pgm_socket(0);
    FAILS(shutdown(fresh, 17), EINVAL);
    FAILS(shutdown(fresh, SHUT_RDWR), ENOTCONN);

    /* A listener is bound again after it, whatever came before, and may listen again: all its names, as they were set. */
    rx = listener(2), tx = sender(2);
    int other = (int)OK(dup(rx)), third = (int)OK(dup(rx));
    struct timeval limit = {30, 0}, found;
    socklen_t len = sizeof(found);
    OK(setsockopt(rx, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)));
    OK(fcntl(rx, F_SETFL, O_NONBLOCK));
    send_text(tx, "unheard");
    EQUAL(ready(rx, POLLIN, 10000), POLLIN);
    OK(shutdown(rx, SHUT_RDWR));
    FAILS(accept(rx, NULL, NULL), EINVAL);
    send_text(tx, "unheard, too");
    sleep_ms(100);
    FAILS(accept(other, NULL, NULL), EINVAL);
    FAILS(shutdown(rx, SHUT_RD), ENOTCONN);
    OK(close(tx));
    OK(listen(rx, 1));
    tx = sender(2);
    send_text(tx, "heard");
    EQUAL(ready(rx, POLLIN, 10000), POLLIN);
    EQUAL(ready(third, POLLIN, 10000), POLLIN);
    for (int i = 0; i < 3; i++) {
        int name = (int[]){rx, other, third}[i];
        OK(getsockopt(name, SOL_SOCKET, SO_RCVTIMEO, &found, &len));
        EQUAL(found.tv_sec, 30);
        EQUAL(fcntl(name, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    }
    fd = session(other);
    /* Perhaps that of the sender before, which is late in ending. */
    while (strncmp(buffer, "unheard", (size_t)OK(recv(fd, buffer, sizeof(buffer), MSG_PEEK))) == 0) {
        OK(close(fd));
        fd = session(rx);
    }
    EXPECT_TEXT(fd, "heard");
    return 0;
}

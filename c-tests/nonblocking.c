/* EAGAIN where a blocking call would wait: accept, recv, and send with a full window. */
#include "check.h"

/* A sender of 1 Mbit/s with a window of 100 kB, full: the next send would block. */
static int full_sender(int n, int nonblock)
{
    struct pgm_send_window window = {1000, 0, 100000};
    struct sockaddr_in a = group(n);
    int fd = pgm_socket(nonblock ? SOCK_NONBLOCK : 0);
    char message[1400];
    long long start = now_ms();
    ssize_t sent;

    OK(setsockopt(fd, IPPROTO_PGM, RM_RATE_WINDOW_SIZE, &window, sizeof(window)));
    OK(connect(fd, SA(a), sizeof(a)));
    fill(message, sizeof(message), 7);
    do {
        sent = send(fd, message, sizeof(message), nonblock ? 0 : MSG_DONTWAIT);
        CHECK(now_ms() - start < 10000);
    } while (sent == (ssize_t)sizeof(message));
    EQUAL(sent, -1);
    EQUAL(errno, EAGAIN);
    EQUAL(ready(fd, POLLOUT, 0) & POLLOUT, 0);
    return fd;
}

int main(void)
{
    char buffer[2000];

    begin(40);
    setenv("PGM_LINGER", "off", 1); /* what is still queued at the end does not matter */
    int rx = listener(0);
    OK(fcntl(rx, F_SETFL, O_NONBLOCK));
    FAILS(accept(rx, NULL, NULL), EAGAIN);
    FAILS(accept4(rx, NULL, NULL, SOCK_CLOEXEC), EAGAIN);

    int tx = sender(0);
    send_text(tx, "one");
    int fd = session(rx);
    FAILS(accept(rx, NULL, NULL), EAGAIN);
    /* The session does not inherit O_NONBLOCK, as on Linux. */
    EQUAL(OK(fcntl(fd, F_GETFL)) & O_NONBLOCK, 0);
    EXPECT_TEXT(fd, "one");
    FAILS(recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT), EAGAIN);
    int on = 1;
    OK(ioctl(fd, FIONBIO, &on));
    FAILS(recv(fd, buffer, sizeof(buffer), 0), EAGAIN);
    FAILS(read(fd, buffer, sizeof(buffer)), EAGAIN);
    send_text(tx, "two");
    EQUAL(ready(fd, POLLIN, 5000), POLLIN);
    EXPECT_TEXT(fd, "two");
    FAILS(recv(fd, buffer, sizeof(buffer), 0), EAGAIN);

    /* The window opens again by time, and poll says so. */
    for (int nonblock = 0; nonblock < 2; nonblock++) {
        int full = full_sender(1 + nonblock, nonblock);
        long long start = now_ms();
        EQUAL(ready(full, POLLOUT, 10000), POLLOUT);
        CHECK(now_ms() - start >= 1);
        EQUAL(send(full, buffer, 100, MSG_DONTWAIT), 100);
        OK(close(full));
    }
    return 0;
}

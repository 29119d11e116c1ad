/* select and pselect on a listener, a session and a sender. */
/* c-tests: variants=fortify3,lfs */
#include "check.h"
#include <sys/select.h>

static int readable(int fd, int ms)
{
    struct timeval t = {ms / 1000, ms % 1000 * 1000};
    fd_set set;

    FD_ZERO(&set);
    FD_SET(fd, &set);
    int n = (int)OK(select(fd + 1, &set, NULL, NULL, &t));
    EQUAL(n, FD_ISSET(fd, &set) ? 1 : 0);
    return n;
}

static int writable(int fd, int ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000L};
    fd_set set;

    FD_ZERO(&set);
    FD_SET(fd, &set);
    int n = (int)OK(pselect(fd + 1, NULL, &set, NULL, &t, NULL));
    EQUAL(n, FD_ISSET(fd, &set) ? 1 : 0);
    return n;
}

int main(void)
{
    char buffer[16];

    begin(30);
    int rx = listener(0);
    EQUAL(readable(rx, 100), 0);
    int tx = sender(0);
    EQUAL(writable(tx, 5000), 1);
    EQUAL(readable(tx, 100), 0);
    send_text(tx, "one");
    EQUAL(readable(rx, 5000), 1);
    int fd = (int)OK(accept(rx, NULL, NULL));
    EQUAL(readable(fd, 5000), 1);
    EQUAL(writable(fd, 100), 0);
    EXPECT_TEXT(fd, "one");
    EQUAL(readable(fd, 100), 0);
    OK(close(tx));
    EQUAL(readable(fd, 10000), 1);
    EQUAL(recv(fd, buffer, sizeof(buffer), 0), 0);
    return 0;
}

/* close, close_range, closefrom and the loop over all descriptors: PGM sockets close, the rest works. */
#include "check.h"

/* One message from a new sender to a new listener. */
static void works(int n)
{
    int rx = listener(n), tx = sender(n);

    send_text(tx, "works");
    int fd = session(rx);
    EXPECT_TEXT(fd, "works");
}

int main(void)
{
    char buffer[16];

    begin(30);
    int rx = listener(0), tx = sender(0);
    send_text(tx, "x");
    int fd = session(rx);
    EXPECT_TEXT(fd, "x");
    OK(close(tx));
    FAILS(close(tx), EBADF);
    FAILS(send(tx, "x", 1, 0), EBADF);
    EQUAL(recv(fd, buffer, sizeof(buffer), 0), 0);

    works(1);
    OK(close_range(3, ~0u, 0));
    FAILS(fcntl(fd, F_GETFD), EBADF);
    FAILS(recv(fd, buffer, sizeof(buffer), 0), EBADF);
    works(2);
    closefrom(3);
    FAILS(fcntl(3, F_GETFD), EBADF);
    works(3);
    for (int i = 3; i < 20000; i++)
        close(i);
    works(4);

    /* A number that was a PGM socket is an ordinary descriptor when it comes again. */
    OK(close_range(3, ~0u, 0));
    int ends[2];
    OK(pipe(ends));
    EQUAL(ends[0], 3);
    EQUAL(write(ends[1], "pipe", 4), 4);
    EQUAL(read(ends[0], buffer, sizeof(buffer)), 4);

    /* CLOSE_RANGE_CLOEXEC closes nothing. */
    tx = sender(5);
    OK(close_range((unsigned)tx, (unsigned)tx, 4 /* CLOSE_RANGE_CLOEXEC */));
    EQUAL(OK(fcntl(tx, F_GETFD)), FD_CLOEXEC);
    send_text(tx, "still open");
    return 0;
}

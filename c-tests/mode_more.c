/* MSG_MORE joins what is sent to what is sent next, as for UDP. */
#include "check.h"

enum { PIECE = 200000 };

int main(void)
{
    char *big = malloc(2 * PIECE + 1);

    begin(30);
    CHECK(big != NULL);
    int rx = listener(0), tx = sender(0);
    send_text(tx, "first");
    int fd = session(rx);
    EXPECT_TEXT(fd, "first");
    EQUAL(send(tx, "one ", 4, MSG_MORE), 4);
    EQUAL(send(tx, "message", 7, MSG_MORE | MSG_DONTWAIT), 7);
    EQUAL(ready(fd, POLLIN, 200), 0);
    send_text(tx, " of three");
    EXPECT_TEXT(fd, "one message of three");
    send_text(tx, "alone");
    EXPECT_TEXT(fd, "alone");

    fill(big, 2 * PIECE, 3);
    EQUAL(send(tx, big, PIECE, MSG_MORE), PIECE);
    EQUAL(send(tx, big + PIECE, PIECE, 0), PIECE);
    EQUAL(recv(fd, big, 2 * PIECE + 1, 0), 2 * PIECE);
    CHECK(matches(big, 2 * PIECE, 3, 0));

    /* What waits for more goes with the socket, as for UDP. */
    EQUAL(send(tx, "never sent", 10, MSG_MORE), 10);
    OK(close(tx));
    EQUAL(recv(fd, big, 16, 0), 0);
    return 0;
}

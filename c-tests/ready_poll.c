/* What poll says of listeners, sessions and senders: the table of readiness, row by row. */
/* c-tests: variants=fortify3 */
#include "check.h"

int main(void)
{
    struct pollfd many[3];
    char buffer[100];
    const int all = POLLIN | POLLOUT | POLLRDHUP;

    begin(30);
    int rx = listener(0);
    EQUAL(ready(rx, all, 100), 0);
    int tx = sender(0);
    EQUAL(ready(tx, all, 5000), POLLOUT);
    EQUAL(ready(rx, all, 300), 0); /* only data makes a session */
    send_text(tx, "one");
    EQUAL(ready(rx, POLLIN, 5000), POLLIN);
    int fd = (int)OK(accept(rx, NULL, NULL));
    EQUAL(ready(rx, all, 100), 0);

    EQUAL(ready(fd, all, 5000), POLLIN); /* readable, and never writable */
    EXPECT_TEXT(fd, "one");
    EQUAL(ready(fd, all, 200), 0);
    EQUAL(ready(tx, all, 0), POLLOUT);

    /* Three at once: only the session that has something is reported. */
    send_text(tx, "two");
    many[0] = (struct pollfd){rx, POLLIN, 0};
    many[1] = (struct pollfd){fd, POLLIN, 0};
    many[2] = (struct pollfd){tx, POLLIN, 0};
    EQUAL(poll(many, 3, 5000), 1);
    EQUAL(many[1].revents, POLLIN);
    EQUAL(recv(fd, buffer, 1, 0), 1);
    EQUAL(ready(fd, POLLIN, 0), POLLIN); /* the rest of the message is still there */
    EXPECT_TEXT(fd, "wo");
    EQUAL(ready(fd, POLLIN, 100), 0);

    /* The end of the session. */
    OK(close(tx));
    EQUAL(ready(fd, POLLIN | POLLRDHUP, 10000), POLLIN | POLLRDHUP);
    EQUAL(recv(fd, buffer, sizeof(buffer), 0), 0);
    EQUAL(ready(fd, POLLIN | POLLRDHUP, 0), POLLIN | POLLRDHUP);
    EQUAL(ready(rx, all, 100), 0);
    return 0;
}

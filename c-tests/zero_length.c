/* Nothing sent is nothing received: a send of 0 octets returns 0 and never looks like an end. */
#include "check.h"

int main(void)
{
    struct iovec none[2] = {{NULL, 0}, {(char *)"", 0}};
    struct msghdr header = {.msg_iov = none, .msg_iovlen = 2};
    char buffer[16];

    begin(20);
    int rx = listener(0), tx = sender(0);
    send_text(tx, "one");
    EQUAL(send(tx, "", 0, 0), 0);
    EQUAL(write(tx, "", 0), 0);
    EQUAL(sendmsg(tx, &header, 0), 0);
    EQUAL(writev(tx, none, 2), 0);
    send_text(tx, "two");
    int fd = session(rx);
    EXPECT_TEXT(fd, "one");
    EXPECT_TEXT(fd, "two");
    EQUAL(ready(fd, POLLIN, 200), 0);

    /* Reading nothing takes nothing. */
    send_text(tx, "three");
    EQUAL(ready(fd, POLLIN, 5000), POLLIN);
    EQUAL(recv(fd, buffer, 0, 0), 0);
    EQUAL(read(fd, buffer, 0), 0);
    EXPECT_TEXT(fd, "three");
    return 0;
}

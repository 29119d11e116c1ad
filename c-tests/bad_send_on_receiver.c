/* A session only receives: every way to send on it is EOPNOTSUPP. */
#include "check.h"

int main(void)
{
    struct iovec part = {(char *)"x", 1};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    struct mmsghdr headers[1] = {{.msg_hdr = header}};

    begin(20);
    int rx = listener(0), tx = sender(0);
    send_text(tx, "hello");
    int fd = session(rx);
    FAILS(send(fd, "x", 1, 0), EOPNOTSUPP);
    FAILS(send(fd, "x", 1, MSG_DONTWAIT), EOPNOTSUPP);
    FAILS(sendto(fd, "x", 1, 0, NULL, 0), EOPNOTSUPP);
    FAILS(sendmsg(fd, &header, 0), EOPNOTSUPP);
    FAILS(sendmmsg(fd, headers, 1, 0), EOPNOTSUPP);
    FAILS(write(fd, "x", 1), EOPNOTSUPP);
    FAILS(writev(fd, &part, 1), EOPNOTSUPP);
    EXPECT_TEXT(fd, "hello");
    return 0;
}

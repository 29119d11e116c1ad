/* A sender only sends: every way to receive on it is EOPNOTSUPP. */
#include "check.h"

int main(void)
{
    char buffer[16];
    struct iovec part = {buffer, sizeof(buffer)};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    struct mmsghdr headers[1] = {{.msg_hdr = header}};

    begin(20);
    int fd = sender(0);
    FAILS(recv(fd, buffer, sizeof(buffer), 0), EOPNOTSUPP);
    FAILS(recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT | MSG_PEEK), EOPNOTSUPP);
    FAILS(recvfrom(fd, buffer, sizeof(buffer), 0, NULL, NULL), EOPNOTSUPP);
    FAILS(recvmsg(fd, &header, 0), EOPNOTSUPP);
    FAILS(recvmmsg(fd, headers, 1, 0, NULL), EOPNOTSUPP);
    FAILS(read(fd, buffer, sizeof(buffer)), EOPNOTSUPP);
    FAILS(readv(fd, &part, 1), EOPNOTSUPP);
    return 0;
}

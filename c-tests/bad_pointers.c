/* NULL where the call needs memory: EFAULT, never a crash. */
/* The compiler knows these are wrong; that is the point. */
#include "check.h"
#pragma GCC diagnostic ignored "-Wnonnull"

int main(void)
{
    struct sockaddr_in a = group(0);
    void *volatile null = NULL;
    struct msghdr header = {0};
    struct iovec part = {null, 10};
    uint32_t value = 1;
    socklen_t len;

    begin(20);
    int fd = pgm_socket(0);
    FAILS(connect(fd, null, sizeof(a)), EFAULT);
    FAILS(bind(fd, null, sizeof(a)), EFAULT);
    FAILS(setsockopt(fd, IPPROTO_PGM, RM_LATEJOIN, null, 4), EFAULT);
    len = 4;
    FAILS(getsockopt(fd, IPPROTO_PGM, RM_LATEJOIN, null, &len), EFAULT);
    FAILS(getsockopt(fd, IPPROTO_PGM, RM_LATEJOIN, &value, null), EFAULT);
    FAILS(getsockname(fd, null, &len), EFAULT);
    FAILS(getsockname(fd, SA(a), null), EFAULT);

    int rx = listener(0), tx = sender(0);
    FAILS(send(tx, null, 10, 0), EFAULT);
    FAILS(sendmsg(tx, null, 0), EFAULT);
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    FAILS(sendmsg(tx, &header, 0), EFAULT);
    FAILS(writev(tx, &part, 1), EFAULT);
    FAILS(getpeername(tx, null, &len), EFAULT);

    send_text(tx, "still here");
    int accepted = session(rx);
    FAILS(recv(accepted, null, 10, 0), EFAULT);
    FAILS(recvmsg(accepted, &header, 0), EFAULT);
    FAILS(readv(accepted, &part, 1), EFAULT);
    EXPECT_TEXT(accepted, "still here");
    /* An accept that cannot report the address is an error; one that is not asked to is fine. */
    FAILS(getpeername(accepted, SA(a), null), EFAULT);
    return 0;
}

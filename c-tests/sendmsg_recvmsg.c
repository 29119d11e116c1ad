/* sendmsg and recvmsg with many parts: one message out, one message in; names and flags. */
/* c-tests: variants=fortify2,fortify3,lfs,asan,valgrind */
#include "check.h"

int main(void)
{
    static char out[30][1000], in[7][5000];
    struct iovec gather[30], scatter[7];
    struct sockaddr_in from, local;
    char control[256];
    struct msghdr header = {0};
    socklen_t len = sizeof(local);

    begin(20);
    int rx = listener(0), tx = sender(0);
    OK(getsockname(tx, SA(local), &len));
    for (int i = 0; i < 30; i++) {
        fill(out[i], 1000, (uint32_t)i);
        gather[i] = (struct iovec){out[i], (size_t)i * 30};
    }
    header.msg_iov = gather;
    header.msg_iovlen = 30;
    EQUAL(sendmsg(tx, &header, 0), 30 * 29 / 2 * 30);
    int fd = session(rx);

    for (int i = 0; i < 7; i++)
        scatter[i] = (struct iovec){in[i], 2000};
    memset(&header, 0, sizeof(header));
    header.msg_iov = scatter;
    header.msg_iovlen = 7;
    header.msg_name = &from;
    header.msg_namelen = sizeof(from);
    header.msg_control = control;
    header.msg_controllen = sizeof(control);
    EQUAL(recvmsg(fd, &header, 0), 30 * 29 / 2 * 30);
    EQUAL(header.msg_controllen, 0);
    EQUAL(header.msg_flags & ~MSG_CMSG_CLOEXEC, MSG_EOR);
    EQUAL(header.msg_namelen, sizeof(from));
    EQUAL(from.sin_family, AF_INET);
    EQUAL(from.sin_addr.s_addr, local.sin_addr.s_addr);
    EQUAL(from.sin_port, local.sin_port);
    for (int i = 0, at = 0; i < 30; i++)
        for (int k = 0; k < i * 30; k++, at++)
            EQUAL((unsigned char)in[at / 2000][at % 2000], octet((uint32_t)i, (size_t)k));

    header.msg_iov = gather;
    header.msg_iovlen = 1025; /* more than UIO_MAXIOV */
    FAILS(sendmsg(tx, &header, 0), EMSGSIZE);

    /* An impossible length of a name costs no message. */
    send_text(tx, "kept");
    CHECK(ready(fd, POLLIN, 5000) & POLLIN);
    header.msg_iov = scatter;
    header.msg_iovlen = 1;
    header.msg_namelen = (socklen_t)-1;
    FAILS(recvmsg(fd, &header, 0), EINVAL);
    EXPECT_TEXT(fd, "kept");
    return 0;
}

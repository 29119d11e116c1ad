/* What is no memory is EFAULT on descriptors that are no PGM sockets, as without the library, which looks at headers too. */
#include "check.h"
#include <sys/mman.h>
#pragma GCC diagnostic ignored "-Wnonnull"

static void refused(int fd, void *header)
{
    FAILS(sendmsg(fd, header, MSG_DONTWAIT), EFAULT);
    FAILS(recvmsg(fd, header, MSG_DONTWAIT), EFAULT);
    FAILS(sendmmsg(fd, header, 1, MSG_DONTWAIT), EFAULT);
    FAILS(recvmmsg(fd, header, 1, MSG_DONTWAIT, NULL), EFAULT);
}

int main(void)
{
    int ends[2];
    struct mmsghdr none = {.msg_hdr = {.msg_iov = (void *)64, .msg_iovlen = 1}};
    long page = sysconf(_SC_PAGESIZE);
    void *volatile null = NULL;

    begin(20);
    OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends));
    char *closed = mmap(NULL, (size_t)page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(closed != MAP_FAILED);
    for (int used = 0; used < 2; used++) {
        if (used)
            (void)listener(0), (void)sender(0);
        OK(send(ends[1], "x", 1, 0)); /* so that there is something to receive */
        refused(ends[0], null);
        refused(ends[0], (void *)-1);
        refused(ends[0], (void *)1);
        refused(ends[0], closed);
        refused(ends[0], closed + page - 8);
        refused(ends[0], &none); /* on the stack, and what it points to is no memory */
        char octet;
        EQUAL(recv(ends[0], &octet, 1, MSG_DONTWAIT), 1);
        EQUAL(octet, 'x');
    }
    return 0;
}

/* socket(): which triples are ours, flags, what SO_TYPE and friends say, and what is left alone. */
#include "check.h"
#include <sys/syscall.h>

static int option(int fd, int name)
{
    int value = -1;
    socklen_t len = sizeof(value);
    OK(getsockopt(fd, SOL_SOCKET, name, &value, &len));
    EQUAL(len, sizeof(value));
    return value;
}

static void flags(int flag, int cloexec, int nonblock)
{
    int fd = pgm_socket(flag);
    EQUAL((OK(fcntl(fd, F_GETFD)) & FD_CLOEXEC) != 0, cloexec);
    EQUAL((OK(fcntl(fd, F_GETFL)) & O_NONBLOCK) != 0, nonblock);
    OK(close(fd));
    FAILS(fcntl(fd, F_GETFD), EBADF);
}

/* Not ours: the answer is the kernel's, errno included. */
static void passes_through(int domain, int type, int proto)
{
    errno = 0;
    long kernel = syscall(SYS_socket, domain, type, proto);
    int kernel_errno = errno;
    errno = 0;
    long ours = socket(domain, type, proto);
    int our_errno = errno;

    EQUAL(ours == -1, kernel == -1);
    if (ours == -1) {
        EQUAL(our_errno, kernel_errno);
    } else {
        OK(close((int)ours));
        OK(close((int)kernel));
    }
}

int main(void)
{
    begin(20);
    int fd = pgm_socket(0);
    EQUAL(option(fd, SO_DOMAIN), AF_INET);
    EQUAL(option(fd, SO_TYPE), SOCK_RDM);
    EQUAL(option(fd, SO_PROTOCOL), protocol());
    EQUAL(option(fd, SO_ACCEPTCONN), 0);
    EQUAL(option(fd, SO_ERROR), 0);
    OK(close(fd));

    fd = listener(0);
    EQUAL(option(fd, SO_TYPE), SOCK_RDM);
    EQUAL(option(fd, SO_ACCEPTCONN), 1);
    OK(close(fd));

    flags(0, 0, 0);
    flags(SOCK_CLOEXEC, 1, 0);
    flags(SOCK_NONBLOCK, 0, 1);
    flags(SOCK_CLOEXEC | SOCK_NONBLOCK, 1, 1);

    passes_through(AF_INET, SOCK_RDM, 0);
    passes_through(AF_INET6, SOCK_RDM, IPPROTO_PGM);
    passes_through(AF_UNIX, SOCK_RDM, 0);
    passes_through(AF_INET, SOCK_SEQPACKET, IPPROTO_PGM);
    passes_through(AF_INET, SOCK_STREAM, IPPROTO_TCP);
    passes_through(AF_INET, SOCK_DGRAM, IPPROTO_UDP);
    passes_through(AF_UNIX, SOCK_SEQPACKET, 0);
    passes_through(-1, -1, -1);
    return 0;
}

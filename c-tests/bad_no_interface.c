/* No interface that could carry multicast: connect and bind/listen fail with ENODEV. */
#include "check.h"
#include <sched.h>

int main(void)
{
    struct sockaddr_in a = group(0);

    begin(20);
    /* Our own network namespace: nothing in it but a loopback interface that is down. */
    if (unshare(geteuid() == 0 ? CLONE_NEWNET : CLONE_NEWUSER | CLONE_NEWNET) == -1)
        SKIP("no network namespace of our own: %s", strerror(errno));
    unsetenv("PGM_INTERFACE");
    int fd = pgm_socket(0);
    FAILS(connect(fd, SA(a), sizeof(a)), ENODEV);
    OK(close(fd));

    /* Windows reports it at bind, and so may we. */
    fd = pgm_socket(0);
    FAILS(bind(fd, SA(a), sizeof(a)) == 0 ? listen(fd, 5) : -1, ENODEV);
    return 0;
}

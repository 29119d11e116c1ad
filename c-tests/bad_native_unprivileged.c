/* Native PGM without CAP_NET_RAW: EPERM from socket; PGM in UDP goes on working. */
#include "check.h"
#include <grp.h>

int main(void)
{
    struct sockaddr_in a = group(0);

    begin(20);
    if (geteuid() == 0) {
        OK(setgroups(0, NULL));
        OK(setgid(65534));
        OK(setuid(65534));
    }
    FAILS(socket(AF_INET, SOCK_RDM, IPPROTO_PGM), EPERM);
    int fd = (int)OK(socket(AF_INET, SOCK_RDM, IPPROTO_UDP));
    OK(connect(fd, SA(a), sizeof(a)));
    return 0;
}

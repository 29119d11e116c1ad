/* Addresses a sender cannot send to and a receiver cannot listen on. */
#include "check.h"

int main(void)
{
    struct sockaddr_in unicast = address("127.0.0.1", 7500), zero = address("0.0.0.0", 7500),
                       broadcast = address("255.255.255.255", 7500),
                       stranger = address("198.51.100.77", 7500), a = group(0);

    begin(20);
    int fd = pgm_socket(0);
    FAILS(connect(fd, SA(unicast), sizeof(unicast)), EINVAL);
    FAILS(connect(fd, SA(zero), sizeof(zero)), EINVAL);
    FAILS(connect(fd, SA(broadcast), sizeof(broadcast)), EINVAL);
    FAILS(bind(fd, SA(stranger), sizeof(stranger)), EADDRNOTAVAIL);
    /* None of these attempts used the socket up. */
    OK(connect(fd, SA(a), sizeof(a)));
    FAILS(connect(fd, SA(a), sizeof(a)), EISCONN);
    return 0;
}

/* An address of another family: EAFNOSUPPORT, and the socket is as usable as before. */
#include "check.h"
#include <sys/un.h>

int main(void)
{
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(7500)};
    struct sockaddr_un local = {.sun_family = AF_UNIX, .sun_path = "/nowhere"};
    struct sockaddr_in a = group(0);

    begin(20);
    int fd = pgm_socket(0);
    FAILS(connect(fd, SA(six), sizeof(six)), EAFNOSUPPORT);
    FAILS(connect(fd, SA(local), sizeof(local)), EAFNOSUPPORT);
    FAILS(bind(fd, SA(six), sizeof(six)), EAFNOSUPPORT);
    FAILS(bind(fd, SA(local), sizeof(local)), EAFNOSUPPORT);
    OK(connect(fd, SA(a), sizeof(a)));
    return 0;
}

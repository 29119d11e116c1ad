/* Address lengths: too short is EINVAL, longer than needed is fine, results are truncated. */
#include "check.h"

int main(void)
{
    struct sockaddr_storage big;
    struct sockaddr_in a = group(0), name;
    socklen_t len;

    begin(20);
    int fd = pgm_socket(0);
    FAILS(connect(fd, SA(a), 0), EINVAL);
    FAILS(connect(fd, SA(a), sizeof(sa_family_t)), EINVAL);
    FAILS(connect(fd, SA(a), sizeof(a) - 1), EINVAL);
    FAILS(connect(fd, SA(a), (socklen_t)-1), EINVAL);
    FAILS(bind(fd, SA(a), 0), EINVAL);
    FAILS(bind(fd, SA(a), sizeof(a) - 1), EINVAL);
    memset(&big, 0, sizeof(big));
    memcpy(&big, &a, sizeof(a));
    OK(connect(fd, SA(big), sizeof(big)));

    /* The kernel's rule: copy what fits, say how long the name really is. */
    memset(&name, 0xee, sizeof(name));
    len = 4;
    OK(getpeername(fd, SA(name), &len));
    EQUAL(len, sizeof(name));
    CHECK(memcmp(&name, &a, 4) == 0);
    EQUAL(((unsigned char *)&name)[4], 0xee);
    len = (socklen_t)-1;
    FAILS(getsockname(fd, SA(name), &len), EINVAL);
    return 0;
}

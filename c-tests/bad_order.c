/* Calls before their time: send, recv, listen, accept, getpeername and shutdown on a fresh socket. */
#include "check.h"

int main(void)
{
    struct sockaddr_in a = group(0), any = address("0.0.0.0", 0), name;
    socklen_t len = sizeof(name);
    struct pgm_sender_stats sent;
    char buffer[16];

    begin(20);
    int fd = pgm_socket(0);
    FAILS(send(fd, "x", 1, 0), ENOTCONN);
    FAILS(write(fd, "x", 1), ENOTCONN);
    FAILS(recv(fd, buffer, sizeof(buffer), 0), ENOTCONN);
    FAILS(read(fd, buffer, sizeof(buffer)), ENOTCONN);
    FAILS(getpeername(fd, SA(name), &len), ENOTCONN);
    FAILS(shutdown(fd, SHUT_WR), ENOTCONN);
    FAILS(accept(fd, NULL, NULL), EINVAL);
    FAILS(listen(fd, 5), EDESTADDRREQ);
    len = sizeof(sent);
    FAILS(getsockopt(fd, IPPROTO_PGM, RM_SENDER_STATISTICS, &sent, &len), ENOTCONN);
    len = sizeof(name);
    OK(getsockname(fd, SA(name), &len));
    EQUAL(name.sin_family, AF_INET);
    EQUAL(name.sin_addr.s_addr, 0);
    EQUAL(name.sin_port, 0);

    /* A sender may bind INADDR_ANY, with any port, before it connects. */
    OK(bind(fd, SA(any), sizeof(any)));
    FAILS(bind(fd, SA(a), sizeof(a)), EINVAL);
    OK(connect(fd, SA(a), sizeof(a)));
    FAILS(bind(fd, SA(a), sizeof(a)), EINVAL);
    FAILS(listen(fd, 5), EISCONN);
    FAILS(accept(fd, NULL, NULL), EINVAL);

    /* A listener is no sender, and listening twice is fine. */
    fd = listener(0);
    OK(listen(fd, 5));
    FAILS(connect(fd, SA(a), sizeof(a)), EISCONN);
    FAILS(send(fd, "x", 1, 0), ENOTCONN);
    FAILS(recv(fd, buffer, sizeof(buffer), 0), ENOTCONN);
    return 0;
}

/* Stream mode: octets without boundaries, natively only. */
/* c-tests: proto=113 */
#include "check.h"

enum { TOTAL = 3 << 20 };

static void transmit(void *arg)
{
    struct sockaddr_in a = group(0);
    char *all = malloc(TOTAL);
    int fd = (int)OK(socket(AF_INET, SOCK_STREAM, IPPROTO_PGM));

    hear(*(int *)arg);
    CHECK(all != NULL);
    OK(connect(fd, SA(a), sizeof(a)));
    fill(all, TOTAL, 9);
    for (size_t at = 0, size = 1; at < TOTAL; at += size) {
        size = size * 2 > TOTAL - at ? TOTAL - at : size * 2;
        for (size_t sent = 0; sent < size;)
            sent += (size_t)OK(send(fd, all + at + sent, size - sent, 0));
    }
}

int main(void)
{
    struct sockaddr_in a = group(0), from, peer;
    socklen_t len = sizeof(from);
    char *all = malloc(TOTAL + 1);
    int go[2], type = 0;

    begin(60);
    if (protocol() != IPPROTO_PGM)
        SKIP("streams are native");
    OK(pipe(go));
    pid_t pid = child(50, transmit, &go[0]);
    int rx = (int)OK(socket(AF_INET, SOCK_STREAM, IPPROTO_PGM));
    OK(bind(rx, SA(a), sizeof(a)));
    OK(listen(rx, 1));
    tell(go[1]);
    int fd = session(rx);
    len = sizeof(type);
    OK(getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len));
    EQUAL(type, SOCK_STREAM);
    size_t got = 0;
    len = sizeof(from);
    got = (size_t)OK(recvfrom(fd, all, 7, MSG_WAITALL, SA(from), &len));
    EQUAL(got, 7);
    OK(getpeername(fd, SA(peer), &len));
    EQUAL(from.sin_port, peer.sin_port);
    EQUAL(from.sin_addr.s_addr, peer.sin_addr.s_addr);
    EQUAL(ready(fd, POLLIN, 5000), POLLIN);
    OK(ioctl(fd, FIONREAD, &type));
    CHECK(type > 0);
    for (ssize_t n; (n = OK(recv(fd, all + got, TOTAL + 1 - got, 0))) > 0;)
        got += (size_t)n;
    EQUAL(got, TOTAL);
    CHECK(matches(all, TOTAL, 9, 0));
    CHILD_PASSED(pid);
    return 0;
}

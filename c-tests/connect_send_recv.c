/* The API in a nutshell: one message each by send, sendto and write, received by recv, recvfrom, read. */
/* c-tests: variants=fortify2,fortify3,lfs,asan,valgrind */
#include "check.h"

int main(void)
{
    struct sockaddr_in a = group(0), from, garbage;
    socklen_t len = sizeof(from);
    char buffer[100];

    begin(20);
    int rx = pgm_socket(0);
    int one = 1;
    OK(setsockopt(rx, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)));
    OK(bind(rx, SA(a), sizeof(a)));
    OK(listen(rx, 1));

    int tx = pgm_socket(0);
    OK(connect(tx, SA(a), sizeof(a)));
    EQUAL(send(tx, "one", 3, 0), 3);
    /* The address of sendto does not matter on a connected sender; programs pass garbage. */
    memset(&garbage, 0x5a, sizeof(garbage));
    EQUAL(sendto(tx, "two", 3, MSG_NOSIGNAL, SA(garbage), sizeof(garbage)), 3);
    EQUAL(write(tx, "three", 5), 5);
    EQUAL(send(tx, "four", 4, 0), 4);

    int fd = (int)OK(accept(rx, SA(from), &len));
    EQUAL(len, sizeof(from));
    EQUAL(from.sin_family, AF_INET);
    EXPECT_TEXT(fd, "one");
    memset(&from, 0, sizeof(from));
    len = sizeof(from);
    EQUAL(recvfrom(fd, buffer, sizeof(buffer), 0, SA(from), &len), 3);
    CHECK(memcmp(buffer, "two", 3) == 0);
    EQUAL(len, sizeof(from));
    EQUAL(from.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    EQUAL(read(fd, buffer, sizeof(buffer)), 5);
    CHECK(memcmp(buffer, "three", 5) == 0);
    EQUAL(recv(fd, buffer, 4, MSG_WAITALL), 4);
    OK(close(tx));
    EQUAL(recv(fd, buffer, sizeof(buffer), 0), 0);
    OK(close(fd));
    OK(close(rx));
    return 0;
}

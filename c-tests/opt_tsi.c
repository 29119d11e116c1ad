/* PGM_TSI names a session alike at the sender and at every receiver, and no two alike. */
#include "check.h"

static struct pgm_tsi tsi(int fd)
{
    struct pgm_tsi value;
    socklen_t len = sizeof(value);

    memset(&value, 0xee, sizeof(value));
    OK(getsockopt(fd, IPPROTO_PGM, PGM_TSI, &value, &len));
    EQUAL(len, sizeof(value));
    return value;
}

int main(void)
{
    struct pgm_tsi value;
    struct sockaddr_in a;
    socklen_t len = sizeof(value);

    begin(30);
    int rx = listener(0), again = listener(0), tx = sender(0), other = sender(1);
    FAILS(getsockopt(rx, IPPROTO_PGM, PGM_TSI, &value, &len), ENOTCONN);
    send_text(tx, "hello");
    int fd = session(rx), second = session(again);
    struct pgm_tsi sent = tsi(tx), got = tsi(fd), got2 = tsi(second), different = tsi(other);
    EQUAL(memcmp(&sent, &got, sizeof(sent)), 0);
    EQUAL(memcmp(&sent, &got2, sizeof(sent)), 0);
    /* One host, one GSI; the port makes the difference, and is the one that names say. */
    EQUAL(memcmp(sent.gsi, different.gsi, sizeof(sent.gsi)), 0);
    CHECK(sent.sport != different.sport);
    len = sizeof(a);
    OK(getpeername(fd, SA(a), &len));
    EQUAL(ntohs(a.sin_port), sent.sport);
    len = sizeof(a);
    OK(getsockname(tx, SA(a), &len));
    EQUAL(ntohs(a.sin_port), sent.sport);
    return 0;
}

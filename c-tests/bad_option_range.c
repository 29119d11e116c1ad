/* Option values out of range are refused and change nothing. */
#include "check.h"

static uint32_t get(int fd, int option)
{
    uint32_t value = 0xdeadbeef;
    socklen_t len = sizeof(value);
    OK(getsockopt(fd, IPPROTO_PGM, option, &value, &len));
    EQUAL(len, 4);
    return value;
}

static int set(int fd, int option, uint32_t value)
{
    return setsockopt(fd, IPPROTO_PGM, option, &value, sizeof(value));
}

int main(void)
{
    struct in_addr stranger;

    begin(20);
    int fd = pgm_socket(0);
    OK(set(fd, RM_LATEJOIN, 75));
    FAILS(set(fd, RM_LATEJOIN, 76), EINVAL);
    FAILS(set(fd, RM_LATEJOIN, (uint32_t)-1), EINVAL);
    EQUAL(get(fd, RM_LATEJOIN), 75);
    OK(set(fd, RM_LATEJOIN, 0));
    EQUAL(get(fd, RM_LATEJOIN), 0);

    OK(set(fd, RM_SET_MCAST_TTL, 255));
    OK(set(fd, RM_SET_MCAST_TTL, 7));
    FAILS(set(fd, RM_SET_MCAST_TTL, 256), EINVAL);
    FAILS(set(fd, RM_SET_MCAST_TTL, (uint32_t)-1), EINVAL);
    EQUAL(get(fd, RM_SET_MCAST_TTL), 7);

    /* Interfaces are addresses of this host, in network byte order. */
    inet_pton(AF_INET, "198.51.100.77", &stranger);
    FAILS(set(fd, RM_SET_SEND_IF, stranger.s_addr), EADDRNOTAVAIL);
    FAILS(set(fd, RM_ADD_RECEIVE_IF, stranger.s_addr), EADDRNOTAVAIL);
    FAILS(set(fd, RM_DEL_RECEIVE_IF, stranger.s_addr), EADDRNOTAVAIL);
    FAILS(set(fd, RM_SET_SEND_IF, htonl(0xefc00001)), EADDRNOTAVAIL);
    OK(set(fd, RM_SET_SEND_IF, htonl(INADDR_LOOPBACK)));
    EQUAL(get(fd, RM_SET_SEND_IF), htonl(INADDR_LOOPBACK));
    OK(set(fd, RM_ADD_RECEIVE_IF, htonl(INADDR_LOOPBACK)));
    OK(set(fd, RM_DEL_RECEIVE_IF, htonl(INADDR_LOOPBACK)));
    FAILS(set(fd, RM_DEL_RECEIVE_IF, htonl(INADDR_LOOPBACK)), EADDRNOTAVAIL);
    return 0;
}

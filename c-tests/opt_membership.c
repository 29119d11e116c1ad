/*
 * Memberships as programs written for UDP ask for them: in all forms, with the kernel's errors; those that
 * name sources choose whose sessions a listener gives out.
 */
#include "check.h"

static struct in_addr loopback, stranger;

static struct group_source_req group_source(int n, struct in_addr source)
{
    struct group_source_req request;
    struct sockaddr_in g = group(n), s = {.sin_family = AF_INET, .sin_addr = source};

    memset(&request, 0, sizeof(request));
    request.gsr_interface = 1; /* lo */
    memcpy(&request.gsr_group, &g, sizeof(g));
    memcpy(&request.gsr_source, &s, sizeof(s));
    return request;
}

/* A listener on group(n) after `option` with this request. */
static int listener_with(int n, int option, const void *request, socklen_t len)
{
    struct sockaddr_in a = group(n);
    int fd = pgm_socket(0);

    OK(setsockopt(fd, IPPROTO_IP, option, request, len));
    OK(bind(fd, SA(a), sizeof(a)));
    OK(listen(fd, 5));
    return fd;
}

static void forms_and_errors(void)
{
    struct sockaddr_in a = group(0);
    struct ip_mreq request = {a.sin_addr, loopback}, unicast = {loopback, loopback};
    struct ip_mreqn by_index = {a.sin_addr, {0}, 1}, nowhere = {a.sin_addr, {0}, 4711};
    struct ip_mreq elsewhere = {a.sin_addr, stranger};
    struct group_req any;
    int fd = pgm_socket(0);

    FAILS(setsockopt(fd, IPPROTO_IP, IP_DROP_MEMBERSHIP, &request, sizeof(request)), EADDRNOTAVAIL);
    FAILS(setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &request, 7), EINVAL);
    FAILS(setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &unicast, sizeof(unicast)), EINVAL);
    FAILS(setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &nowhere, sizeof(nowhere)), ENODEV);
    FAILS(setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &elsewhere, sizeof(elsewhere)), ENODEV);
    OK(setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &request, sizeof(request)));
    FAILS(setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &request, sizeof(request)), EADDRINUSE);
    FAILS(setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &by_index, sizeof(by_index)), EADDRINUSE);
    OK(setsockopt(fd, IPPROTO_IP, IP_DROP_MEMBERSHIP, &by_index, sizeof(by_index)));

    memset(&any, 0, sizeof(any));
    FAILS(setsockopt(fd, IPPROTO_IP, MCAST_JOIN_GROUP, &any, sizeof(any)), EADDRNOTAVAIL);
    memcpy(&any.gr_group, &a, sizeof(a));
    FAILS(setsockopt(fd, IPPROTO_IP, MCAST_JOIN_GROUP, &any, sizeof(any) - 1), EINVAL);
    OK(setsockopt(fd, IPPROTO_IP, MCAST_JOIN_GROUP, &any, sizeof(any)));
    OK(setsockopt(fd, IPPROTO_IP, MCAST_LEAVE_GROUP, &any, sizeof(any)));
    OK(close(fd));
}

int main(void)
{
    struct sockaddr_in a = group(1);
    struct ip_mreq_source mine, theirs;

    begin(40);
    loopback.s_addr = htonl(INADDR_LOOPBACK);
    inet_pton(AF_INET, "198.51.100.77", &stranger);
    forms_and_errors();

    memset(&mine, 0, sizeof(mine));
    mine.imr_multiaddr = a.sin_addr;
    mine.imr_interface = loopback;
    mine.imr_sourceaddr = loopback;
    theirs = mine;
    theirs.imr_sourceaddr = stranger;
    struct group_source_req by_group = group_source(1, loopback), wrong = group_source(1, stranger);
    int wants_mine = listener_with(1, IP_ADD_SOURCE_MEMBERSHIP, &mine, sizeof(mine));
    int wants_theirs = listener_with(1, IP_ADD_SOURCE_MEMBERSHIP, &theirs, sizeof(theirs));
    int group_mine = listener_with(1, MCAST_JOIN_SOURCE_GROUP, &by_group, sizeof(by_group));
    int group_theirs = listener_with(1, MCAST_JOIN_SOURCE_GROUP, &wrong, sizeof(wrong));

    /* To all but this one: after bind the socket is a member already. */
    int but_mine = pgm_socket(0);
    OK(bind(but_mine, SA(a), sizeof(a)));
    OK(setsockopt(but_mine, IPPROTO_IP, IP_BLOCK_SOURCE, &mine, sizeof(mine)));
    OK(listen(but_mine, 5));
    int forgiving = pgm_socket(0);
    OK(bind(forgiving, SA(a), sizeof(a)));
    OK(setsockopt(forgiving, IPPROTO_IP, IP_BLOCK_SOURCE, &mine, sizeof(mine)));
    OK(setsockopt(forgiving, IPPROTO_IP, IP_UNBLOCK_SOURCE, &mine, sizeof(mine)));
    OK(listen(forgiving, 5));

    int tx = sender(1);
    send_text(tx, "hello");
    EXPECT_TEXT(session(wants_mine), "hello");
    EXPECT_TEXT(session(group_mine), "hello");
    EXPECT_TEXT(session(forgiving), "hello");
    EQUAL(ready(wants_theirs, POLLIN, 200), 0);
    EQUAL(ready(group_theirs, POLLIN, 0), 0);
    EQUAL(ready(but_mine, POLLIN, 0), 0);
    return 0;
}

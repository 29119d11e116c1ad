/* getaddrinfo with SOCK_RDM: groups, hosts, services, flags, libc's errors, and sockets made of its answers. */
/* c-tests: variants=asan,valgrind */
#include "check.h"
#include <netdb.h>

static struct addrinfo wanted(int family, int type, int proto, int flags)
{
    struct addrinfo hints;

    memset(&hints, 0, sizeof(hints));
    hints.ai_family = family;
    hints.ai_socktype = type;
    hints.ai_protocol = proto;
    hints.ai_flags = flags;
    return hints;
}

/* The answer, which must be PGM entries of one protocol, IPv4. */
static struct addrinfo *found(const char *node, const char *service, struct addrinfo hints, int proto)
{
    struct addrinfo before = hints, *list = NULL;
    int error = getaddrinfo(node, service, &hints, &list);

    if (error != 0)
        FAIL("%s %s: %s", node, service, gai_strerror(error));
    CHECK(list != NULL);
    CHECK(memcmp(&before, &hints, sizeof(hints)) == 0);
    for (struct addrinfo *a = list; a != NULL; a = a->ai_next) {
        EQUAL(a->ai_family, AF_INET);
        EQUAL(a->ai_socktype, hints.ai_socktype);
        EQUAL(a->ai_protocol, proto);
        EQUAL(a->ai_addrlen, sizeof(struct sockaddr_in));
        EQUAL(a->ai_addr->sa_family, AF_INET);
    }
    return list;
}

/* The one address of an answer, which is freed. */
static void is(struct addrinfo *list, const char *ip, int port)
{
    struct sockaddr_in in, expected = address(ip, port);

    CHECK(list->ai_next == NULL);
    memcpy(&in, list->ai_addr, sizeof(in));
    EQUAL(ntohl(in.sin_addr.s_addr), ntohl(expected.sin_addr.s_addr));
    EQUAL(ntohs(in.sin_port), port);
    freeaddrinfo(list);
}

static void fails(const char *node, const char *service, struct addrinfo hints, int expected)
{
    struct addrinfo *list;
    int error = getaddrinfo(node, service, &hints, &list);

    if (error != expected)
        FAIL("%s %s: %d (%s), expected %d (%s)", node ? node : "-", service ? service : "-", error,
             gai_strerror(error), expected, gai_strerror(expected));
}

static void answers(int family, int type, int proto)
{
    struct addrinfo h = wanted(family, type, proto, 0), *list;

    is(found("239.192.0.1", "7500", h, proto), "239.192.0.1", 7500);
    is(found("239.192.0.1", NULL, h, proto), "239.192.0.1", 0);
    is(found("localhost", "7500", h, proto), "127.0.0.1", 7500);
    is(found(NULL, "7500", h, proto), "127.0.0.1", 7500);
    is(found(NULL, "7500", wanted(family, type, proto, AI_PASSIVE), proto), "0.0.0.0", 7500);
    h.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
    is(found("239.192.0.1", "7500", h, proto), "239.192.0.1", 7500);
    fails("localhost", "7500", h, EAI_NONAME);
    fails("239.192.0.1", "domain", h, EAI_NONAME);
    h.ai_flags = AI_CANONNAME;
    list = found("localhost", "7500", h, proto);
    CHECK(list->ai_canonname != NULL && strcmp(list->ai_canonname, "localhost") == 0);
    is(list, "127.0.0.1", 7500);
    h.ai_flags = 0;
    if (getservbyname("domain", "udp") != NULL)
        is(found("239.192.0.1", "domain", h, proto), "239.192.0.1", 53);
    fails("239.192.0.1", "no-such-service", h, EAI_SERVICE);
    fails(NULL, NULL, h, EAI_NONAME);
    fails("239.192.0.1", "7500", wanted(family, type, proto, 1 << 20), EAI_BADFLAGS);
}

/* Nothing else is answered differently: IPv6, other protocols, and other kinds of sockets. */
static void others(void)
{
    struct addrinfo h = wanted(AF_INET, SOCK_DGRAM, 0, 0), *list;

    fails("239.192.0.1", "7500", wanted(AF_INET6, SOCK_RDM, 113, 0), EAI_SOCKTYPE);
    fails("239.192.0.1", "7500", wanted(AF_INET, SOCK_RDM, IPPROTO_TCP, 0), EAI_SOCKTYPE);
    fails("239.192.0.1", "7500", wanted(77, SOCK_RDM, 113, 0), EAI_FAMILY);
    fails("::1", "7500", wanted(AF_INET, SOCK_RDM, 113, 0), EAI_ADDRFAMILY);
    is(found("239.192.0.1", "7500", h, IPPROTO_UDP), "239.192.0.1", 7500);
    EQUAL(getaddrinfo("127.0.0.1", "80", NULL, &list), 0);
    EQUAL(list->ai_socktype, SOCK_STREAM);
    EQUAL(list->ai_next->ai_socktype, SOCK_DGRAM);
    EQUAL(list->ai_next->ai_next->ai_socktype, SOCK_RAW);
    freeaddrinfo(list);
}

/* The first answer that makes a socket, as every program does it. */
static int opened(const char *node, const char *service, struct addrinfo hints,
                  int (*call)(int, const struct sockaddr *, socklen_t))
{
    struct addrinfo *list;
    int fd = -1;

    EQUAL(getaddrinfo(node, service, &hints, &list), 0);
    for (struct addrinfo *a = list; a != NULL && fd == -1; a = a->ai_next) {
        fd = socket(a->ai_family, a->ai_socktype, a->ai_protocol);
        if (fd != -1)
            OK(call(fd, a->ai_addr, a->ai_addrlen));
    }
    freeaddrinfo(list);
    return (int)OK(fd);
}

static void works(int family, int type, int proto, int n)
{
    struct sockaddr_in a = group(n);
    struct addrinfo h = wanted(family, type, proto, 0);
    char ip[INET_ADDRSTRLEN], port[8];

    CHECK(inet_ntop(AF_INET, &a.sin_addr, ip, sizeof(ip)) != NULL);
    snprintf(port, sizeof(port), "%d", ntohs(a.sin_port));
    int rx = opened(ip, port, h, bind), tx;
    OK(listen(rx, 1));
    tx = opened(ip, port, h, connect);
    send_text(tx, "by name");
    int fd = session(rx);
    EXPECT_TEXT(fd, "by name");
    OK(close(fd));
    OK(close(tx));
    OK(close(rx));
}

/* Native PGM is what SOCK_RDM means, for those who may use it. */
static int best(void)
{
    int fd = socket(AF_INET, SOCK_RAW, 113);

    if (fd == -1)
        return IPPROTO_UDP;
    OK(close(fd));
    return 113;
}

int main(void)
{
    struct addrinfo *list;

    begin(60);
    EQUAL(protocol() == 113, best() == 113);
    for (int family = AF_UNSPEC; family <= AF_INET; family += AF_INET) {
        answers(family, SOCK_RDM, 113);
        answers(family, SOCK_RDM, IPPROTO_UDP);
        answers(family, SOCK_STREAM, 113);
        list = found("239.192.0.1", "7500", wanted(family, SOCK_RDM, 0, 0), best());
        is(list, "239.192.0.1", 7500);
    }
    others();
    works(AF_UNSPEC, SOCK_RDM, 0, 0);
    works(AF_INET, SOCK_RDM, protocol(), 1);
    if (protocol() == 113)
        works(AF_INET, SOCK_STREAM, 113, 2);
    return 0;
}

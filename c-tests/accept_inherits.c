/* A session begins with the options of its listener, as an accepted TCP socket does; O_NONBLOCK is not one. */
#include "check.h"

static void set(int fd, int option, const void *value, socklen_t len)
{
    OK(setsockopt(fd, SOL_SOCKET, option, value, len));
}

static void prepare(int listening)
{
    static const int flags[] = {SO_REUSEADDR, SO_BROADCAST, SO_KEEPALIVE, SO_OOBINLINE};
    struct timeval in = {0, 300000}, out = {7, 0};
    struct linger linger = {1, 4};
    int on = 1, size = 300000;

    for (size_t i = 0; i < sizeof(flags) / sizeof(*flags); i++)
        set(listening, flags[i], &on, sizeof(on));
    set(listening, SO_RCVTIMEO, &in, sizeof(in));
    set(listening, SO_SNDTIMEO, &out, sizeof(out));
    set(listening, SO_LINGER, &linger, sizeof(linger));
    set(listening, SO_RCVBUF, &size, sizeof(size));
    OK(fcntl(listening, F_SETFL, O_NONBLOCK));
}

static void same(int a, int b, int option)
{
    unsigned char values[2][16] = {{0}};
    socklen_t lens[2] = {16, 16};

    OK(getsockopt(a, SOL_SOCKET, option, values[0], &lens[0]));
    OK(getsockopt(b, SOL_SOCKET, option, values[1], &lens[1]));
    if (lens[0] != lens[1] || memcmp(values[0], values[1], lens[0]) != 0)
        FAIL("option %d is not what it is in TCP", option);
}

int main(void)
{
    static const int options[] = {SO_REUSEADDR, SO_BROADCAST, SO_KEEPALIVE, SO_OOBINLINE, SO_RCVTIMEO,
                                  SO_SNDTIMEO,  SO_LINGER,    SO_RCVLOWAT,  SO_RCVBUF};
    struct sockaddr_in g = group(0), local = address("127.0.0.1", 0);
    socklen_t len = sizeof(local);
    char c;

    begin(30);
    int tcp = (int)OK(socket(AF_INET, SOCK_STREAM, 0)), client = (int)OK(socket(AF_INET, SOCK_STREAM, 0));
    prepare(tcp);
    OK(bind(tcp, SA(local), sizeof(local)));
    OK(listen(tcp, 1));
    OK(getsockname(tcp, SA(local), &len));
    OK(connect(client, SA(local), sizeof(local)));
    CHECK(ready(tcp, POLLIN, 10000) & POLLIN);
    int accepted = (int)OK(accept(tcp, NULL, NULL));

    int listening = pgm_socket(0);
    prepare(listening);
    OK(bind(listening, SA(g), sizeof(g)));
    OK(listen(listening, 1));
    int sending = sender(0);
    send_text(sending, "one");
    int fd = session(listening);
    for (size_t i = 0; i < sizeof(options) / sizeof(*options); i++)
        same(fd, accepted, options[i]);
    EQUAL(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    EXPECT_TEXT(fd, "one");
    FAILS(recv(fd, &c, 1, 0), EAGAIN);
    return 0;
}
